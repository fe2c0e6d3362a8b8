"""The shell scripts that run on a host, and quoting for the shell."""
