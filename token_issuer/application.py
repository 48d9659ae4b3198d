"""The issuer's HTTP resources (RFC 9578, Sections 4 and 6), as a WSGI application.

A purchase goes: whose secret, which order, the ledger takes the price, the keys sign. If anything
breaks after the price was taken, the same request gets its tokens when it comes again.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule
from werkzeug.wrappers import Request, Response

from protocol.errors import ProtocolError
from protocol.purchase_receipt import FIELD, Receipt
from protocol.registry import TOKEN_ISSUER_DIRECTORY, TOKEN_ISSUER_DIRECTORY_PATH, media_type
from token_issuer import stripe
from token_issuer.account_secret import is_secret, secret_digest
from token_issuer.accounts import Account
from token_issuer.crowd import Sold, crowd, crowd_seconds
from token_issuer.key_ring import REQUEST_PATH, KeyRing
from token_issuer.ledger import (
    Entry,
    InsufficientBalance,
    Ledger,
    NotIssuing,
    PurchaseRefused,
    TooFast,
    UnknownAccount,
)
from token_issuer.log import Log
from token_issuer.metrics import Metrics
from token_issuer.order import MAX_ORDER_BYTES, Order, read_order, unprocessable
from token_issuer.page import page
from token_issuer.refusals import Refusal, payment_required, too_many, unauthorized, unavailable
from token_issuer.statement import statement
from token_issuer.stripe import StripeAccount
from token_issuer.x402_payment import MAX_PAYMENT_CHARACTERS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from token_issuer.x402_desk import Desk

MAX_EVENT_BYTES = 256 * 1024
"""Of a call from a provider of payments, which encloses the whole object that it is about."""

_ROUTES = Map(
    [
        Rule("/", methods=["GET"], endpoint="page"),
        Rule(TOKEN_ISSUER_DIRECTORY_PATH.decode(), methods=["GET"], endpoint="directory"),
        Rule("/crowd", methods=["GET"], endpoint="crowd"),
        Rule("/account", methods=["GET"], endpoint="account"),
        Rule(REQUEST_PATH, methods=["POST"], endpoint="tokens"),
        Rule("/payments/stripe", methods=["POST"], endpoint="stripe"),
        Rule("/payments/x402/<pack>", methods=["POST"], endpoint="x402"),
    ]
)


class _Exchange:
    """One request, and what the log is told of it."""

    def __init__(self, environ: "WSGIEnvironment") -> None:
        self.request = Request(environ)
        self.route = "other"
        self.parts: Mapping[str, str] = {}
        self.account: int | None = None
        self.tokens: int | None = None

    @property
    def secret(self) -> str | None:
        """Return the account's secret, if there is one in the field Authorization."""
        given = self.request.authorization
        return given.token if given is not None and given.type == "bearer" else None

    def body(self, most: int) -> bytes:
        """Return the body, or raise Refusal with 413 if it has more octets than that."""
        # One more is read, as a body without a length is cut where it is too long.
        self.request.max_content_length = most + 1
        body = self.request.get_data()
        if len(body) > most:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return body


class Application:
    """Answers requests; one for each process."""

    def __init__(
        self,
        ring: KeyRing,
        ledger: Ledger,
        *,
        stripe_account: StripeAccount | None = None,
        desk: "Desk | None" = None,
        metrics: Metrics | None = None,
        log: Log | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ring = ring
        self._ledger = ledger
        self._sold = Sold(ledger)
        self._stripe = stripe_account
        self._desk = desk
        self._metrics = metrics or Metrics()
        self._log = log or Log()
        self._clock = clock
        self._handlers: dict[str, Callable[[_Exchange], Response]] = {
            "page": lambda _: page(),
            "directory": self._directory,
            "crowd": self._crowd,
            "account": self._account,
            "tokens": self._tokens,
            "stripe": self._payment,
            "x402": self._pack,
        }

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        exchange = _Exchange(environ)
        answer = self._answer(exchange)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        status = answer.status_code
        self._metrics.requests.labels(exchange.route, str(status)).inc()
        told = {"account": exchange.account, "tokens": exchange.tokens}
        self._log.event("request", route=exchange.route, status=status, **told)
        return answer(environ, start_response)

    def _answer(self, exchange: _Exchange) -> Response:
        try:
            adapter = _ROUTES.bind_to_environ(exchange.request.environ)
            exchange.route, exchange.parts = adapter.match()
            return self._handlers[exchange.route](exchange)
        except Refusal as refusal:
            return refusal.response()
        except HTTPException as refused:
            return _problem(refused)
        except DBAPIError as error:
            self._log.event("ledger_failed", what=type(error.orig).__name__)
            return unavailable().response()
        except ArithmeticError:
            # The price was taken, and is not taken again of the same request.
            self._log.event("signing_failed", account=exchange.account)
            return unavailable().response()

    def _directory(self, _: _Exchange) -> Response:
        now = self._clock()
        answer = Response(
            self._ring.directory(now).encode(), content_type=TOKEN_ISSUER_DIRECTORY.decode()
        )
        answer.headers["Cache-Control"] = f"max-age={self._ring.directory_seconds(now)}"
        return answer

    def _crowd(self, _: _Exchange) -> Response:
        now = self._clock()
        members = crowd(self._sold, self._ring, now)
        answer = Response(json.dumps(members), content_type="application/json")
        answer.headers["Cache-Control"] = f"public, max-age={crowd_seconds(now)}"
        return answer

    def _account(self, exchange: _Exchange) -> Response:
        now = self._clock()
        account = self._authenticate(exchange, now)
        members = statement(self._ledger, account, self._ring, now)
        answer = Response(json.dumps(members), content_type="application/json")
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _tokens(self, exchange: _Exchange) -> Response:
        now = self._clock()
        account = self._authenticate(exchange, now)
        body = exchange.body(MAX_ORDER_BYTES)
        kind = media_type((exchange.request.content_type or "").encode())
        order = read_order(kind, body, self._ring)
        entry = self._purchase(account, order, now)
        signed = self._sign(order)
        exchange.tokens = len(order.members)
        answer = Response(signed, content_type=order.answer_type)
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["ledger-entry"] = str(entry.number)
        answer.headers[FIELD] = self._receipt(entry, body)
        return answer

    def _authenticate(self, exchange: _Exchange, now: float) -> Account:
        """Return the account whose secret the request has; the same refusal for every other."""
        secret = exchange.secret
        # Without a secret, too, the ledger is asked: no answer takes another time than the others.
        account = self._ledger.find(secret_digest(secret or ""), int(now))
        if account is None:
            raise unauthorized()
        exchange.account = account.number
        return account

    def _purchase(self, account: Account, order: Order, now: float) -> Entry:
        try:
            return self._ledger.purchase(account.number, order.purchase(now), now)
        except PurchaseRefused as refused:
            raise _refusal(refused) from None

    def _sign(self, order: Order) -> bytes:
        begun = time.process_time()
        signed = order.sign()
        self._metrics.signing_seconds.inc(time.process_time() - begun)
        for key, count in order.counts.items():
            self._metrics.signed.labels(str(key.entry.price)).inc(count)
        return signed

    def _receipt(self, entry: Entry, body: bytes) -> str:
        receipt = Receipt(entry.paid, entry.balance, entry.at)
        return receipt.signed(body, self._ring.receipt_key).encode().decode()

    def _payment(self, exchange: _Exchange) -> Response:
        if self._stripe is None:
            raise Refusal(HTTPStatus.NOT_FOUND)
        body = exchange.body(MAX_EVENT_BYTES)
        header = exchange.request.headers.get("Stripe-Signature", "")
        try:
            self._stripe.verify(header, body, self._clock())
            payment = self._stripe.read_payment(body)
        except ProtocolError:
            raise Refusal(HTTPStatus.BAD_REQUEST) from None
        if payment is not None:
            exchange.account = payment.account
            self._credit(payment)
        return Response("{}", content_type="application/json")

    def _credit(self, payment: stripe.Payment) -> None:
        now = self._clock()
        try:
            credited = self._ledger.credit(
                payment.account, payment.units, stripe.KIND, payment.reference, now
            )
        except (UnknownAccount, ValueError):
            # The provider shows its owner that this was not taken, and tries again.
            self._log.event("payment_for_no_account", account=payment.account)
            raise unprocessable() from None
        if credited:
            self._log.event("credited", account=payment.account, units=payment.units)

    def _pack(self, exchange: _Exchange) -> Response:
        """Sell a pack for a payment; with a secret of the buyer's own, which may be new."""
        if self._desk is None:
            raise Refusal(HTTPStatus.NOT_FOUND)
        headers = exchange.request.headers
        secret, field = exchange.secret, headers.get("PAYMENT-SIGNATURE")
        if "Authorization" in headers and (secret is None or not is_secret(secret)):
            raise unauthorized()
        if field is not None and len(field) > MAX_PAYMENT_CHARACTERS:
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        try:
            sale = self._desk.sell(exchange.parts["pack"], secret, field)
        except ProtocolError:
            raise Refusal(HTTPStatus.BAD_REQUEST) from None
        exchange.account = sale.account
        members = {"account": sale.account, "units": sale.units}
        answer = Response(json.dumps(members), content_type="application/json")
        answer.headers["Cache-Control"] = "no-store"
        answer.headers["PAYMENT-RESPONSE"] = sale.field
        return answer


def _refusal(refused: PurchaseRefused) -> Refusal:
    match refused:
        case UnknownAccount():
            return unauthorized()
        case InsufficientBalance():
            return payment_required(refused.balance, refused.price)
        case TooFast():
            return too_many(refused.seconds)
        case NotIssuing():
            return unprocessable()
    raise refused


def _problem(refused: HTTPException) -> Response:
    """Return what Werkzeug refuses (paths, methods, sizes) as any other refusal."""
    status = HTTPStatus(refused.code or 500)
    kept: Any = dict(refused.get_headers())
    fields = {"Allow": kept["Allow"]} if "Allow" in kept else {}
    return Refusal(status, fields=fields).response()
