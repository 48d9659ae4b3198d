"""The Nitro Secure Module, its simulation, and what rests on it: randomness and time."""
