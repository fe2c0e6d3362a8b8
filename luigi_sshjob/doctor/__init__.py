"""Checks whether a host can run jobs, and suggests fixes."""
