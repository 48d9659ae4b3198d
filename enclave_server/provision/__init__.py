"""Secrets that an administrator hands to the running server, once."""
