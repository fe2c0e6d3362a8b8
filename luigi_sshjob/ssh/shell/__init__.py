"""Sessions, and the remote shell that answers requests in one."""
