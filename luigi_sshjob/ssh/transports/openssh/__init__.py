"""The OpenSSH client, with one ControlMaster per host."""
