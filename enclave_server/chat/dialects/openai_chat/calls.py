"""Which call a fragment of a stream belongs to: numbered by us, for servers number in many ways.

Ollama gives all calls the number 0, Gemini's compatible endpoint gives none, others begin at 1.
What is joined wrongly would be signed so.
"""

import secrets
from collections.abc import Iterable

import msgspec

from enclave_server.chat.conversation import Call, CallDelta

UNNUMBERED = -1


def new_identifier() -> str:
    """Return an identifier for a call to which its server gave none."""
    return f"call_{secrets.token_hex(12)}"


def identify(calls: Iterable[Call]) -> None:
    """Give each of the `calls` of a whole answer an identifier and its type."""
    for call in calls:
        call.id, call.type = call.id or new_identifier(), "function"


class Numbering(msgspec.Struct):
    """Numbers the calls of one choice in the order in which they begin.

    `latest` is the call that a server's number stands for; `identifiers` are the server's.
    """

    latest: dict[int, int] = {}
    identifiers: list[str | None] = []

    def take(self, part: CallDelta) -> None:
        """Give a fragment its call's number, and a call that begins with it an identifier."""
        theirs = part.index
        number = self.latest.get(theirs)
        if number is None or self._begins(part, number):
            number = len(self.identifiers)
            self.identifiers.append(part.id)
            part.id = part.id or new_identifier()
        self.latest[theirs] = part.index = number

    def _begins(self, part: CallDelta, number: int) -> bool:
        """Whether `part` begins another call than `number`, which has the same number there."""
        if not part.function.name:
            return False  # the first fragment names the function
        known = self.identifiers[number]
        if part.index == UNNUMBERED:
            return not part.id or part.id != known
        return bool(part.id and known and part.id != known)
