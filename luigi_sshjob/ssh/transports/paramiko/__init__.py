"""The paramiko transport: an SSH client within this process, for machines without OpenSSH or with only a password."""
