"""The enclave image and the emulated machine that it is tested in."""
