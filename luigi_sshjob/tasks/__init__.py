"""Remote jobs as Luigi tasks."""
