"""What upstreams speak."""
