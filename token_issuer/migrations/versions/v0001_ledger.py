"""The first tables: accounts, what changed their balances, and which keys signed how much."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "accounts",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("balance", sa.BigInteger, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("expires", sa.BigInteger),
        sa.Column("allowance", sa.BigInteger, nullable=False),
        sa.Column("allowance_price", sa.Integer, nullable=False),
        sa.Column("period_seconds", sa.BigInteger, nullable=False),
        sa.Column("period", sa.BigInteger, nullable=False),
        sa.Column("period_used", sa.BigInteger, nullable=False),
        sa.Column("burst", sa.Float, nullable=False),
        sa.Column("burst_at", sa.Float, nullable=False),
        sa.CheckConstraint("balance >= 0", name="balance_not_negative"),
        sa.CheckConstraint("allowance >= 0", name="allowance_not_negative"),
        sa.CheckConstraint("period_seconds > 0", name="period_positive"),
    )
    op.create_table(
        "entries",
        sa.Column("id", _NUMBER, primary_key=True),
        sa.Column("account", _NUMBER, sa.ForeignKey("accounts.id"), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("allowed", sa.BigInteger, nullable=False),
        sa.Column("balance", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.String(255), nullable=False),
        sa.UniqueConstraint("account", "kind", "reference", name="once_an_account"),
    )
    payments = sa.text("kind <> 'tokens'")
    op.create_index(
        "once_a_payment",
        "entries",
        ["kind", "reference"],
        unique=True,
        sqlite_where=payments,
        postgresql_where=payments,
    )
    op.create_table(
        "issued",
        sa.Column("entry", _NUMBER, sa.ForeignKey("entries.id"), primary_key=True),
        sa.Column("key_id", sa.String(64), primary_key=True),
        sa.Column("tokens", sa.Integer, nullable=False),
    )
    op.create_index("ix_issued_key_id", "issued", ["key_id"])
