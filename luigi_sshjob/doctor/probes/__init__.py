"""Checks that start something on the host."""
