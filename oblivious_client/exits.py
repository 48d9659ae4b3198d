"""Exit codes of the command line: one for each thing that can go wrong."""

from __future__ import annotations

import enum
from typing import Self


class Exit(enum.IntEnum):
    """A process exit code and what it means; `--help` prints this table."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a member that is an integer and carries its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "the answer came, or everything that was checked holds"
    FAILURE = 1, "something else failed; the message says what"
    USAGE = 2, "the command line or a file named on it is wrong"
    NO_CONNECTION = 3, "no connection, or no answer in time"
    OUTER_REFUSAL = 4, "the relay or gateway refused the sealed request without opening it"
    SERVICE_ERROR = 5, "the service opened the request and answered with an error"
    TRUNCATED = 6, "the answer broke off: what came before is not the whole answer"
    UNREADABLE = 7, "the sealed answer does not open or is malformed"
    ANSWER_SIGNATURE = 8, "the answer is not signed by the attested key"
    EVIDENCE_MALFORMED = 10, "the evidence is not evidence"
    CHAIN = 11, "the evidence is not signed under the pinned root"
    PCRS = 12, "the enclave runs other code than the pinned measurements name"
    DEBUG_MODE = 13, "the enclave runs in debug mode: its operator can read its memory"
    STALE = 14, "the evidence is too old, or does not hold the nonce"
    SIMULATED = 15, "the evidence is simulated and --allow-simulated was not given"
    KEYS_UNBOUND = 16, "the keys are not the ones that the evidence binds"
    UNPINNED = 17, "no measurements are pinned, so any program in any enclave would pass"
    PROVISIONED_BEFORE = 18, "the enclave has its secrets already: it takes them once"
    NOT_ADMINISTRATOR = 19, "the enclave's configuration names another administrator's key"
    NO_TOKEN = 20, "no token in the wallet suffices; the message says how to buy one"
    TOKEN_REFUSED = 21, "the gateway refused the tokens that it was offered"
    ISSUER_REFUSED = 22, "the issuer sold no tokens: its answer to the voucher says why"
    CATALOGUE = 23, "the tokens' keys are not the attested ones, or the issuer has others"
    WALLET = 24, "the wallet cannot be read or written"
    RELEASES_STALE = 25, "there is no list of releases that is fresh enough to be relied on"
    RELEASES_REFUSED = 26, "the list of releases does not verify, or none of it will do now"
    RELEASES_CONFLICT = 27, "two lists of releases contradict one another: a person has to decide"
    KEYS_UNSEEN = 28, "the mirrors have not seen the keys that were served, or are silent"
    INTERRUPTED = 130, "interrupted"


def table() -> str:
    """Return the codes as lines for the help text."""
    return "\n".join(f"  {int(code):>3}  {code.meaning}" for code in Exit)
