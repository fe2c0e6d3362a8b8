"""Jobs that a scheduler starts: what the host and the scheduler say about them, and what follows from that."""
