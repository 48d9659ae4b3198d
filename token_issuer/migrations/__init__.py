"""The ledger's tables, step by step; Alembic takes the steps."""
