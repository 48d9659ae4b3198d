"""The ledger's tables, as the newest step of `migrations` leaves them.

Amounts are units, of which a token of price point `c4` costs four; times are Unix seconds.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

METADATA = MetaData()

# SQLite numbers rows by itself in a column of type INTEGER alone.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")

TOKENS = "tokens"
"""The kind of an entry that is a purchase of tokens; all others add to a balance."""

accounts = Table(
    "accounts",
    METADATA,
    Column("id", _NUMBER, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False, unique=True),
    Column("name", String(100), nullable=False),  # for the operator's eyes, and may be empty
    Column("created", BigInteger, nullable=False),
    Column("balance", BigInteger, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("expires", BigInteger),  # never, where there is none
    # What it may have for nothing: so many units in each period, of one price point.
    Column("allowance", BigInteger, nullable=False),
    Column("allowance_price", Integer, nullable=False),
    Column("period_seconds", BigInteger, nullable=False),
    Column("period", BigInteger, nullable=False),  # the number of the last one that was used
    Column("period_used", BigInteger, nullable=False),
    # Tokens that it may have signed at once, and as of when.
    Column("burst", Float, nullable=False),
    Column("burst_at", Float, nullable=False),
    CheckConstraint("balance >= 0", name="balance_not_negative"),
    CheckConstraint("allowance >= 0", name="allowance_not_negative"),
    CheckConstraint("period_seconds > 0", name="period_positive"),
)

entries = Table(
    "entries",
    METADATA,
    Column("id", _NUMBER, primary_key=True),
    Column("account", ForeignKey("accounts.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("amount", BigInteger, nullable=False),  # what the balance changed by
    Column("allowed", BigInteger, nullable=False),  # what came out of the allowance beside it
    Column("balance", BigInteger, nullable=False),  # after it
    Column("reference", String(255), nullable=False),
    # The same request, or the same payment, changes a balance once, ever.
    UniqueConstraint("account", "kind", "reference", name="once_an_account"),
    # And a payment counts for one account alone.
    Index(
        "once_a_payment",
        "kind",
        "reference",
        unique=True,
        sqlite_where=text("kind <> 'tokens'"),
        postgresql_where=text("kind <> 'tokens'"),
    ),
)

issued = Table(
    "issued",
    METADATA,
    Column("entry", ForeignKey("entries.id"), primary_key=True),
    Column("key_id", String(64), primary_key=True, index=True),
    Column("tokens", Integer, nullable=False),
)

intents = Table(
    "intents",
    METADATA,
    Column("reference", String(64), primary_key=True),  # of a payment that somebody presented
    Column("secret_hash", LargeBinary, nullable=False, index=True),  # of whom it is for
    Column("units", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),  # after which the chain does not take it
    Column("state", String(8), nullable=False),
    # Whether it was sent to be settled, and nobody knows what came of it.
    Column("in_doubt", Boolean, nullable=False),
    # Who is at it, until when: nobody else asks the facilitator of the same payment.
    Column("holder", String(32), nullable=False),
    Column("held_until", Float, nullable=False),
    # What the facilitator is given; empty when it is decided.
    Column("document", Text, nullable=False),
    Column("terms", Text, nullable=False),
    Column("settlement", String(66), nullable=False),  # the transaction that paid, if one did
)
