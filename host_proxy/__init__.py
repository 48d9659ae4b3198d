"""The untrusted carrier between TCP and vsock on the enclave's host."""
