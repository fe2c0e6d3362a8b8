"""Sessions on a connection, and the remote shell that runs in one."""
