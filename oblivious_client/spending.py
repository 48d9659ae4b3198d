"""Spending tokens: which one goes with a question, and what its answer says of it.

Before a question is sealed its price is computed from its body and the attested catalogue, as the
enclave does it (`protocol.token_asked`), and a token of that price point is held in the wallet. It
goes with the question, inside the seal. What became of it is read from the sealed answer alone:

    2xx, or `privatetoken-status: spent`        it is gone
    `privatetoken-status: returned`, other 4xx  it can be used again
    401                                         it is useless; the next one is tried
    409                                         somebody holds it; the next one is tried. One that
                                                has just come back is usable in half a minute
    no answer, 5xx that does not say            unknown; nothing is tried
    an outer 4xx or 503                         it can be used again, and may have been seen all the
                                                same: whoever says so may have passed it on
    not sent                                    as it was

Only a sealed refusal has another token tried (RFC 9458, Section 6.5): it alone shows that nothing
was done for the first. At most RETRIES follow. Without any answer nothing is ever tried again, nor
after a token that left twice, sealed to two keys, is refused: then the first copy was answered, and
whoever called its key unknown has kept the answer.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from oblivious_client.errors import NoToken, OuterRefusal, TokenRefused
from oblivious_client.exchange import Upload
from oblivious_client.wallet import Held, Outcome, Wallet
from protocol import strict_json
from protocol.binary_http import ResponseHead, field_value
from protocol.errors import ProtocolError
from protocol.registry import PROBLEM_JSON, media_type
from protocol.token_asked import PAID_PATHS, read_asked
from protocol.token_catalogue import Catalogue
from protocol.token_fields import encode_authorization
from protocol.token_prices import PricePoint

RETRIES = 2
"""Of tokens after the first for one question: more would show that somebody lies."""

REMEMBERED_BODIES = 64
"""Questions whose token came back, by the digest of their body; in memory alone."""

ERROR_EVENT_BYTES = 65536
"""An event with an error is far smaller."""

STATUS_FIELD = b"privatetoken-status"
_RETURNED = b'"returned"'
_HELD_OR_SPENT = ("token_in_use", "token_spent")
_UNHEARD = (*range(400, 500), 503)
"""Outer statuses of whoever says that a request was not opened."""


class Purse:
    """What pays for the questions of one route: a wallet, and the dearest price point.

    `where` are the options that lead a command the same way, for advice.
    """

    def __init__(
        self, wallet: Wallet | None, most: PricePoint | None = None, where: Sequence[str] = ()
    ) -> None:
        self._wallet = wallet
        self._most = most
        self.where = tuple(where)
        self._returned: OrderedDict[bytes, int] = OrderedDict()

    def bill(self, catalogue: Catalogue, path: str, body: bytes) -> Bill | None:
        """Return what a question costs; None if nothing, or if the enclave will refuse it anyway.

        NoToken if it costs more than is allowed, or if there is no wallet.
        """
        try:
            model, asked = read_asked(path, body)
        except ProtocolError:
            return None  # refused for its form, which costs nothing
        tariff = catalogue.models.get(model)
        cheapest = None if tariff is None else tariff.price_of(asked)
        if tariff is None or cheapest is None:
            return None
        prices = [price for price in sorted(tariff.budgets) if price >= cheapest]
        if self._wallet is None:
            raise NoToken(
                f"a question to {model} costs a token of {cheapest}, and no wallet was given",
                advice="give one that holds tokens: Wallet(PATH)",
            )
        if self._most is not None:
            prices = [price for price in prices if price <= self._most]
        if not prices:
            raise NoToken(
                f"this question to {model} costs a token of {cheapest}, "
                f"and --max-price is {self._most}",
                advice="ask for a shorter answer with a limit of tokens, or allow the price",
            )
        return Bill(self, self._wallet, catalogue, prices, hashlib.sha256(body).digest())

    def remember(self, digest: bytes, row: int) -> None:
        """Remember the token that came back with a question, for when it is asked again."""
        self._returned[digest] = row
        while len(self._returned) > REMEMBERED_BODIES:
            self._returned.popitem(last=False)

    def recall(self, digest: bytes) -> int | None:
        """Return the row of the token that came back with this question, once."""
        return self._returned.pop(digest, None)


def is_paid(path: bytes) -> bool:
    """Whether questions at a path may cost something."""
    return path.decode("ascii", "replace") in PAID_PATHS


class Bill:
    """What one question costs; its `prices` are those that will do, the cheapest first."""

    def __init__(
        self,
        purse: Purse,
        wallet: Wallet,
        catalogue: Catalogue,
        prices: Sequence[PricePoint],
        digest: bytes,
    ) -> None:
        self.purse, self.wallet, self.catalogue = purse, wallet, catalogue
        self.prices, self.digest = prices, digest
        self._refusals: list[str] = []
        self._coming_back: set[int] = set()
        self._is_kept = False

    def hold(self) -> Payment:
        """Return a token that is held for the question; raises NoToken or TokenRefused."""
        if self._is_kept:
            raise TokenRefused(
                "the question was answered, and somebody on the way kept the answer",
                advice="ask again, or try another relay; its token is spent",
            )
        if len(self._refusals) > RETRIES:
            raise self._refused("no other is tried")
        preferred = self.purse.recall(self.digest)
        held = self.wallet.take(
            self.catalogue, self.prices, preferred=preferred, without=self._coming_back
        )
        if held is not None:
            return Payment(self, held)
        if self._refusals and len(self._refusals) == len(self._coming_back):
            raise TokenRefused(
                "what tokens there are came back just now, and cannot be used yet",
                advice="ask again in half a minute",
            )
        if self._refusals:
            raise self._refused("there is no other")
        raise NoToken(
            f"there is no token of {self.prices[0]} or dearer in {self.wallet.file.path}",
            advice=f"buy some: {self._buying(self.prices[0])}",
        )

    def refuse(self, code: str, copies: int) -> None:
        """Note that a token was refused which has left so often."""
        self._refusals.append(code)
        self._is_kept = copies > 1 and code in _HELD_OR_SPENT

    def leave(self, row: int) -> None:
        """Leave a token out that was refused as it came back just now: it is good, and later."""
        self._coming_back.add(row)

    def _refused(self, end: str) -> TokenRefused:
        said = ", ".join(dict.fromkeys(self._refusals))
        return TokenRefused(
            f"the gateway refused {len(self._refusals)} of your tokens ({said}), and {end}",
            advice=f"`{self.wallet.command('check')}` tells what was refused that nobody had seen",
        )

    def _buying(self, price: PricePoint) -> str:
        return self.wallet.command("buy", "--price", str(price), *self.purse.where)


@dataclass(slots=True)
class Payment:
    """A token that goes with one question; what becomes of it is said once."""

    bill: Bill = field(repr=False)
    held: Held

    @property
    def authorization(self) -> bytes:
        """The value of the field that goes with the question, inside the seal."""
        return encode_authorization(self.held.token)

    def read(self, head: ResponseHead, content: bytes, upload: Upload) -> bool:
        """Settle by a sealed answer that is no stream; return whether to try another token."""
        status = head.status
        is_problem = _media_type(head) == PROBLEM_JSON
        is_refused = status == 401 or (status == 409 and not is_problem)
        if is_refused:
            code = _code(content) or f"status {status}"
            self.bill.refuse(code, upload.copies)
            if self.held.is_fresh and upload.copies < 2:
                self.bill.wallet.note_refusal(self.held.price, code)
        if is_refused and status == 409 and self.held.came_back:
            self.bill.leave(self.held.row)
            self.bill.wallet.settle(self.held, Outcome.RETURNED)
        else:
            self.settle(_outcome(head, is_problem=is_problem))
        return is_refused

    def fail(self, error: BaseException, upload: Upload) -> None:
        """Settle for a question that got no sealed answer."""
        is_unheard = isinstance(error, OuterRefusal) and error.status in _UNHEARD
        if not upload.begun:
            self.settle(Outcome.UNSENT)
        else:
            self.settle(Outcome.RETURNED if is_unheard else Outcome.UNKNOWN)

    def settle(self, outcome: Outcome) -> None:
        """Write what became of the token."""
        if outcome is Outcome.RETURNED:
            self.bill.purse.remember(self.bill.digest, self.held.row)
        self.bill.wallet.settle(self.held, outcome)


class StreamedPayment:
    """A payment whose answer streams: its last event tells if the token came back."""

    def __init__(self, payment: Payment) -> None:
        self._payment = payment
        self._line = b""  # that has not ended; of a long one its beginning
        self._is_returned = self._is_settled = False

    def take(self, data: bytes) -> None:
        """Look at the lines that `data` completes."""
        *lines, last = (self._line + data).split(b"\n")
        self._line = last[:ERROR_EVENT_BYTES]
        for line in lines:
            # A model cannot write this: its quotes are escaped.
            if line.startswith(b"data:") and _RETURNED in line:
                self._is_returned = self._is_returned or _tells_return(line[5:])

    def end(self) -> None:
        """Settle: the end of the answer has verified."""
        self._settle(Outcome.GONE)

    def break_off(self) -> None:
        """Settle: the answer broke off, and what became of its token is not known."""
        self._settle(Outcome.UNKNOWN)

    def hang_up(self) -> None:
        """Settle: whoever asked has had enough, which spends a token."""
        self._settle(Outcome.GONE)

    def _settle(self, outcome: Outcome) -> None:
        """Write an outcome, once; an error is passed on only when the end has verified."""
        if not self._is_settled:
            self._is_settled = True
            self._payment.settle(Outcome.RETURNED if self._is_returned else outcome)


def _tells_return(data: bytes) -> bool:
    """Whether an event is an error that gives the token back."""
    error = _error_in(data)
    return error is not None and error.get("token") == "returned"


def _outcome(head: ResponseHead, *, is_problem: bool) -> Outcome:
    """Return what a sealed answer says of its token."""
    status, told = head.status, field_value(head.headers, STATUS_FIELD)
    if status == 401 or told == b"spent" or status < 300:
        return Outcome.GONE
    if told == b"returned":
        return Outcome.RETURNED
    # Problems are of before the request was read: too old, without room, or a copy of another.
    if is_problem or 400 <= status < 500:
        return Outcome.UNKNOWN if status == 409 else Outcome.RETURNED
    return Outcome.UNKNOWN


def _media_type(head: ResponseHead) -> bytes:
    return media_type(field_value(head.headers, b"content-type"))


def _code(content: bytes) -> str | None:
    """Return the code of an error object, if it is a plain word."""
    code = (_error_in(content) or {}).get("code")
    if isinstance(code, str) and code.isascii() and code.replace("_", "").isalnum():
        return code[:40]
    return None


def _error_in(content: bytes) -> dict[str, object] | None:
    """Return the error object in `content`, where the surfaces have it."""
    try:
        members = strict_json.decode_object(content)
    except ProtocolError:
        return None
    failed = members.get("response")  # of the Responses API's last event
    error = (failed if isinstance(failed, dict) else members).get("error")
    return error if isinstance(error, dict) else None
