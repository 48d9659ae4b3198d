"""The embedded model's process."""
