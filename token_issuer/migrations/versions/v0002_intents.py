"""Payments that were presented and that it is to be decided of whether they were made."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "intents",
        sa.Column("reference", sa.String(64), primary_key=True),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("ends", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("in_doubt", sa.Boolean, nullable=False),
        sa.Column("holder", sa.String(32), nullable=False),
        sa.Column("held_until", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("settlement", sa.String(66), nullable=False),
    )
    op.create_index("ix_intents_secret_hash", "intents", ["secret_hash"])
