"""The private local directory of sockets and locks."""
