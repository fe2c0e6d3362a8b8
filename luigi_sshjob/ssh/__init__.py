"""Reaching a host: one connection, few sessions on it, framed requests."""
