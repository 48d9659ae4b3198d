"""The gateway that runs inside the enclave."""
