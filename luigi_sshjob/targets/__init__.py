"""Luigi's remote targets, file systems and contexts, on the shared connection."""
