"""The enclave image: what is measured, and how it is built."""
