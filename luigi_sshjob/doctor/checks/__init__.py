"""What the doctor checks, by subject."""
