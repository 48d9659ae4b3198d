"""The issuer of tokens: it takes vouchers and payments, and signs what it cannot read."""
