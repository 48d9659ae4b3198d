"""What Alembic runs for each upgrade: all steps in the transaction that it was given."""

from alembic import context

from token_issuer.schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
