"""Other people's implementations of Oblivious HTTP, against ours in both roles."""
