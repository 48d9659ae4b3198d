"""Changes the product at random, one place at a time, and asks whether a test notices."""
