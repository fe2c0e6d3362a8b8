"""Probes that start processes or sessions on the host."""
