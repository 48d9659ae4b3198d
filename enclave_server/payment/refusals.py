"""Why a token buys nothing: one status and one code for each case, and no reason beyond it."""

import enum

from protocol.binary_http import Fields


class Refusal(enum.Enum):
    """The cases: inner status, code and text."""

    REQUIRED = (401, "token_required", "This model is paid for: send a PrivateToken.")
    INVALID = (401, "token_invalid", "The token is none that is taken here.")
    EXPIRED = (401, "token_expired", "The token's time is not now.")
    TOO_SMALL = (402, "token_too_small", "The token is too small for this request.")
    BUDGET = (400, "budget_exceeded", "No token is large enough for this request.")
    IN_USE = (409, "token_in_use", "Another request holds the token.")
    SPENT = (401, "token_spent", "The token is spent.")
    UNAVAILABLE = (
        503,
        "token_store_unavailable",
        "Whether the token is spent cannot be found out now.",
    )

    @property
    def status(self) -> int:
        """The status of the inner answer."""
        return self.value[0]

    @property
    def code(self) -> str:
        """What programs know the case by."""
        return self.value[1]

    @property
    def text(self) -> str:
        """What people are told."""
        return self.value[2]


CODES = frozenset(refusal.code for refusal in Refusal)


class Refused(Exception):
    """A token that buys nothing; `fields` go with the answer."""

    def __init__(self, refusal: Refusal, fields: Fields = ()) -> None:
        super().__init__(refusal.code)
        self.refusal, self.fields = refusal, fields
