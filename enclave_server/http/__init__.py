"""Outer HTTP: what relay and host speak to the enclave."""
