"""The emulated enclave and its parent instance, in which an image is tried."""
