"""Commands, and the packages behind them; of all this only `image` reaches an enclave."""
