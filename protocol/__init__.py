"""Wire formats and cryptography of Oblivious Inference, without any I/O."""
