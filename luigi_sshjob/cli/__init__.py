"""The `luigi-sshjob` command."""
