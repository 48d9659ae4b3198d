"""The client: verify, seal, send, open."""
