"""Training runs in their own process."""
