"""The whole path on one machine: set-up, demo, processes."""
