"""What `scripts/relay_check` is made of: a recording gateway, clients, and what they check."""
