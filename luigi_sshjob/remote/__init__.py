"""Everything that is shell: the scripts of the remote side, and quoting."""
