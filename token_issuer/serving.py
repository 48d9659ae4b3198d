"""The running issuer: gunicorn with processes that each answer one request at a time.

Signing is all that takes time, and takes all of a processor: so there are as many processes as
processors, and whoever is slow to send or read waits at the front, which has to be there for TLS.
A process that is killed loses nothing: the ledger has what was paid, and a request may come again.
"""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication
from prometheus_client import CONTENT_TYPE_LATEST

from token_issuer.application import Application
from token_issuer.database import open_database
from token_issuer.key_files import read_keys
from token_issuer.key_ring import load
from token_issuer.ledger import Ledger
from token_issuer.log import Log
from token_issuer.metrics import Metrics
from token_issuer.settings import Settings, SettingsError
from token_issuer.stripe import StripeAccount
from token_issuer.upgrade import upgraded_ledger
from token_issuer.x402_setup import open_desk

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_SECONDS = 30
"""After which a process that is stuck in one request is replaced."""

GRACE_SECONDS = 25
"""For requests that are being answered, after SIGTERM."""

HEAD_BYTES = 4094
"""Of a request's line; a field may have twice as many."""

HEAD_FIELDS = 50
"""Of a request."""


def serve(settings: Settings) -> None:
    """Answer until SIGTERM; raise what is wrong with keys, ledger or settings before that."""
    load(settings.keys)
    stripe_account(settings)
    with upgraded_ledger(settings) as ledger:
        open_desk(settings, ledger)
    # It is left again: the processes that are forked may share no connection.
    _Server(settings).run()


def build(settings: Settings) -> "WSGIApplication":
    """Return the application of one process, with connections and keys of its own.

    Keys are read after the fork: processes that shared a blinding would show what it hides.
    """
    ledger = Ledger(open_database(settings.database), settings.tokens_per_minute)
    metrics, log = Metrics(), Log()
    application = Application(
        load(settings.keys),
        ledger,
        stripe_account=stripe_account(settings),
        desk=open_desk(settings, ledger, log),
        metrics=metrics,
        log=log,
    )
    if settings.metrics is None:
        return application

    def told() -> bytes:
        return metrics.exposition(ledger, lambda: read_keys(settings.keys))

    return _by_listener(application, settings.metrics, told)


def stripe_account(settings: Settings) -> StripeAccount | None:
    """Return whose calls about payments are believed, or None; SettingsError without a secret."""
    stripe = settings.stripe
    if stripe is None:
        return None
    try:
        secret = stripe.secret_file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"{stripe.secret_file} cannot be read: {error.strerror}.") from None
    if not secret:
        raise SettingsError(f"{stripe.secret_file} is empty.")
    return StripeAccount(secret, stripe.currency, stripe.minor_per_unit)


def _by_listener(
    application: "WSGIApplication", address: str, told: Callable[[], bytes]
) -> "WSGIApplication":
    """Return an application that tells metrics on their own listener, and nothing else there."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if _listener(environ) != address:
            return application(environ, start_response)
        start_response("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [told()]

    return answer


def _listener(environ: "WSGIEnvironment") -> str:
    """Return the address on which a request arrived, as the settings write it."""
    return _address(environ["gunicorn.socket"].getsockname()).removeprefix("tcp://")


def _address(name: Any) -> str:
    """Return the name of a socket as an address."""
    if isinstance(name, tuple):
        host, port = name[:2]
        return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"
    return f"unix:{os.fsdecode(name)}"


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, told everything here and nothing by files or the environment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        metrics = self._settings.metrics
        for name, value in {
            "bind": [self._settings.listen, *([metrics] if metrics else [])],
            "workers": self._settings.workers,
            "worker_class": "sync",
            "timeout": REQUEST_SECONDS,
            "graceful_timeout": GRACE_SECONDS,
            "limit_request_line": HEAD_BYTES,
            "limit_request_fields": HEAD_FIELDS,
            # No field of a request is a variable of the server, whoever passes it on: SCRIPT_NAME
            # would move its path.
            "forwarder_headers": "",
            "forwarded_allow_ips": "",
            "proc_name": "token-issuer",
            "control_socket_disable": True,
            "accesslog": None,  # it would tell addresses
            "loglevel": "warning",
            "when_ready": _tell,
        }.items():
            self.cfg.set(name, value)

    def load(self) -> "WSGIApplication":
        return build(self._settings)


def _tell(server: Any) -> None:
    """Say, as the other programs do, where it listens and that it takes requests."""
    listener = server.LISTENERS[0]
    log = Log()
    log.event("listening", address=_address(listener.sock.getsockname()))
    log.event("ready")
