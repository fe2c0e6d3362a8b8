"""The one process per host that holds the remote shell, and its clients."""
