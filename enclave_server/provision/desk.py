"""Secrets from the administrator while the server runs: inner path `POST /v1/provision`, once.

A worker checks the signature and proposes the secrets to its parent. The parent takes the first
proposal of all and sends it to every worker with the keys, also to those that replace others
later. The worker whose proposal comes back answers 204, every other 409.
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.strict_json import printable
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import NULLIFIER_KEY, Config
from enclave_server.payment.nullifier import MIN_KEY_CHARACTERS
from enclave_server.provision.proposal import Proposal, decode_proposal
from protocol.binary_http import Request, Response
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.gateway import Answer, Answering, Delivery, Dispatch
from protocol.provisioning import MAX_CONTENT_BYTES, PATH, Secrets, open_secrets

DECISION_SECONDS = 10.0
"""For the supervisor to accept a proposal; it needs a few milliseconds unless it hangs."""

Report = Callable[[int], None]
"""Takes the status of each attempt."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whose signature is needed, for which enclave, and the upstreams that want a key.

    `window` is how many seconds the time of the signature may differ from this clock.
    """

    administrator: Ed25519PublicKey
    tee_id: str
    upstreams: frozenset[str]
    window: float

    def open(self, request: Request, now: float) -> Secrets:
        """Return the secrets in `request`; raises ChatError, first of all for a wrong signature."""
        if request.method != b"POST":
            allow = ((b"allow", b"POST"),)
            raise ChatError(405, "This path answers POST only.", fields=allow)
        if len(request.content) > MAX_CONTENT_BYTES:
            raise ChatError(413, f"At most {MAX_CONTENT_BYTES} octets are taken.")
        try:
            secrets = open_secrets(
                request.content,
                self.administrator,
                tee_id=self.tee_id,
                now=now,
                window=self.window,
            )
        except MalformedMessage:
            raise invalid("This is no signed statement of secrets.") from None
        except SignatureInvalid:
            raise ChatError(
                403,
                "Not signed with the administrator's key, for this enclave, at this time.",
                code="not_authorised",
            ) from None
        self._check_names(secrets)
        if len(secrets.keys.get(NULLIFIER_KEY, " " * MIN_KEY_CHARACTERS)) < MIN_KEY_CHARACTERS:
            sentence = f"The key of spent tokens has at least {MIN_KEY_CHARACTERS} characters."
            raise invalid(sentence, code="short_key")
        return secrets

    def _check_names(self, secrets: Secrets) -> None:
        # Once only: what is missing now would be missing until the enclave boots anew.
        _refuse(secrets.keys.keys() - self.upstreams, "No provisioned key is wanted for")
        _refuse(secrets.settings.keys() - self.upstreams, "No settings are wanted for")
        _refuse(self.upstreams - secrets.keys.keys(), "A key is missing for")


def make_gate(config: Config, tee_id: str) -> Gate | None:
    """Return what is demanded of secrets, or None where nobody may hand over any."""
    administrator = config.provision.administrator
    if administrator is None:
        return None
    window = config.replay.window_seconds
    return Gate(administrator, tee_id, config.wanted_secrets, window)


class Desk:
    """One worker's way to the supervisor and back: proposes, and learns what was accepted."""

    def __init__(self, channel: socket.socket, provisioned: ProvisionedKeys) -> None:
        self._channel = channel
        self._provisioned = provisioned
        self._accepted: Proposal | None = None
        self._decided = asyncio.Event()

    def learn(self, accepted: Proposal | None) -> None:
        """Use what the supervisor sent with the keys."""
        if accepted is None or self._accepted is not None:
            return
        self._provisioned.put_all(Secrets(accepted.keys, accepted.settings))
        self._accepted = accepted
        self._decided.set()

    async def propose(self, secrets: Secrets) -> None:
        """Return once the supervisor has accepted `secrets`; raises ChatError if it has not."""
        proposal = Proposal.of(secrets)
        if self._accepted is None:
            await self._send(proposal.encode())
        if self._accepted is None or self._accepted.identifier != proposal.identifier:
            raise ChatError(
                409,
                "This enclave has its secrets already: it takes them once, until it boots anew.",
                code="already_provisioned",
            )

    async def _send(self, proposal: bytes) -> None:
        try:
            self._channel.send(proposal)
            async with asyncio.timeout(DECISION_SECONDS):
                await self._decided.wait()
        except OSError:  # TimeoutError is one
            raise ChatError(
                503, "The secrets could not be passed on.", kind="server_error"
            ) from None


def make_dispatch(
    gate: Gate | None,
    desk: Desk,
    otherwise: Dispatch,
    report: Report,
    clock: Callable[[], float] = time.time,
) -> Dispatch:
    """Return the dispatch that takes secrets at their path and leaves the rest to `otherwise`."""
    if gate is None:
        return otherwise  # to which the path is one of those where nothing is

    async def take(request: Request) -> Answer:
        response = await _answer(lambda: desk.propose(gate.open(request, clock())))
        report(response.status)
        return response

    def dispatch(request: Request, delivery: Delivery) -> Answering:
        return take(request) if request.path == PATH else otherwise(request, delivery)

    return dispatch


async def _answer(take: Callable[[], Awaitable[None]]) -> Response:
    try:
        await take()
    except ChatError as error:
        return error.response()
    return Response(HTTPStatus.NO_CONTENT)


class Acceptance:
    """The supervisor's side: accepts one proposal, whichever worker it comes from."""

    def __init__(self) -> None:
        self.accepted: Proposal | None = None

    def consider(self, proposals: Iterable[bytes]) -> bool:
        """Accept the first of `proposals` if none was accepted before; whether that happened."""
        if self.accepted is not None:
            return False
        for data in proposals:
            self.accepted = decode_proposal(data)
            if self.accepted is not None:
                return True
        return False

    def forget(self) -> None:
        """Drop the secrets: a forked worker gets its own by message."""
        self.accepted = None


def _refuse(names: Iterable[str], sentence: str) -> None:
    shown = ", ".join(f"'{printable(name)}'" for name in sorted(names))
    if shown:
        raise invalid(f"{sentence} {shown}.", code="wrong_upstream")
