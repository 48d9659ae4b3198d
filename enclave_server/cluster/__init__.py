"""Enclaves that share keys: who joins whom, who leads, and what each may open."""
