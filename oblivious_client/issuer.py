"""An issuer's resources, as a buyer uses them (RFC 9578, Sections 4 to 6), over httpx.

An issuer learns who buys, by the account and by the address that a request comes from: a proxy
hides the latter. It never goes through the relay, which leads to one gateway alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx

from oblivious_client.errors import IssuerRefused, IssuerSilent, UsageError
from oblivious_client.fetching import OUTER_FIELDS
from protocol import strict_json
from protocol.errors import ProtocolError
from protocol.issuer_directory import IssuerDirectory
from protocol.purchase_receipt import FIELD as RECEIPT_FIELD
from protocol.registry import (
    TOKEN_BATCH_REQUEST,
    TOKEN_BATCH_RESPONSE,
    TOKEN_ISSUER_DIRECTORY_PATH,
    media_type,
)

ANSWER_SECONDS = 60.0
"""For an issuer to answer: it signs a hundred tokens in a second, and others wait before."""

ANSWER_LIMIT = 65536
"""A batch of a hundred has 25,903 octets; a directory and a problem are smaller."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What an issuer gave for a purchase: the answer's octets, and its receipt."""

    content: bytes
    receipt: str | None


class Issuer:
    """Sends to one issuer; raises IssuerSilent if no answer comes, IssuerRefused for a refusal."""

    def __init__(self, url: str, *, proxy: str | None = None) -> None:
        self.url = httpx.URL(url)
        try:
            self._http = httpx.Client(
                proxy=proxy, timeout=ANSWER_SECONDS, trust_env=False, follow_redirects=False
            )
        except ImportError as error:
            raise UsageError(
                "a SOCKS proxy needs a package more", advice="pip install 'httpx[socks]'"
            ) from error

    def directory(self) -> IssuerDirectory:
        """Return the issuer's keys, which nothing vouches for but its TLS."""
        status, _, content = self._exchange(
            "GET", self.url.join(TOKEN_ISSUER_DIRECTORY_PATH.decode()), {}, b""
        )
        if status != httpx.codes.OK:
            raise self._refusal(status, content, f"{self.url.host} has no directory of keys")
        try:
            return IssuerDirectory.decode(content)
        except ProtocolError as error:
            raise IssuerRefused(
                f"the directory of {self.url.host} is none: {error}",
                advice="tell the issuer; nothing was paid",
            ) from error

    def crowd(self, key_id: bytes) -> int | None:
        """Return how many tokens of a key it says it sold, at least; None if it does not say."""
        try:
            status, _, content = self._exchange("GET", self.url.join("/crowd"), {}, b"")
            members = strict_json.decode_object(content) if status == httpx.codes.OK else {}
        except (IssuerSilent, IssuerRefused, ProtocolError):
            return None
        keys = members.get("keys")
        for each in keys if isinstance(keys, list) else ():
            if isinstance(each, dict) and each.get("token_key_id") == key_id.hex():
                count = each.get("at_least")
                return count if type(count) is int and count >= 0 else None
        return None

    def issue(self, directory: IssuerDirectory, request: bytes, secret: str) -> Issued:
        """Return what the issuer gives for the octets of a batch; it takes their price once."""
        fields = {
            "Authorization": f"Bearer {secret}",
            "Content-Type": TOKEN_BATCH_REQUEST.decode(),
            "Accept": TOKEN_BATCH_RESPONSE.decode(),
        }
        place = self._request_place(directory)
        status, found, content = self._exchange("POST", place, fields, request)
        if status != httpx.codes.OK:
            raise self._refusal(status, content, f"{self.url.host} refused the purchase")
        kind = media_type(found.get("content-type", "").encode("ascii", "replace"))
        if kind != TOKEN_BATCH_RESPONSE:
            raise IssuerRefused(f"{self.url.host} answered with something that is no tokens")
        return Issued(content, found.get(RECEIPT_FIELD))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the issuer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        self.close()

    def _request_place(self, directory: IssuerDirectory) -> httpx.URL:
        """Return where purchases go; nobody else than the attested issuer gets the secret."""
        try:
            place = self.url.join(directory.request_uri)
        except httpx.InvalidURL:
            place = None
        if place is None or _origin(place) != _origin(self.url):
            raise IssuerRefused(
                f"{self.url.host} sends purchases to another place, which is not attested",
                advice="tell the issuer; nothing was paid",
            )
        return place

    def _exchange(
        self, method: str, url: httpx.URL, fields: Mapping[str, str], content: bytes
    ) -> tuple[int, httpx.Headers, bytes]:
        """Return status, fields and content of an answer that is read within its limits."""
        ends = time.monotonic() + ANSWER_SECONDS
        request = self._http.build_request(
            method, url, headers={**dict(OUTER_FIELDS), **fields}, content=content or None
        )
        with self._translated():
            response = self._http.send(request, stream=True)
            try:
                body = bytearray()
                for piece in response.iter_raw():
                    body += piece
                    if len(body) > ANSWER_LIMIT or time.monotonic() > ends:
                        raise IssuerSilent(f"{self.url.host} sends too much, or too slowly")
            finally:
                response.close()
        return response.status_code, response.headers, bytes(body)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx.TransportError as error:
            raise IssuerSilent(f"no answer of {self.url.host}: {error}") from error

    def _refusal(self, status: int, content: bytes, what: str) -> IssuerRefused:
        said, advice = _REFUSALS.get(status, (f"it answered {status}", "try again later"))
        if status == httpx.codes.PAYMENT_REQUIRED:
            said = _balance(content) or said
        return IssuerRefused(f"{what}: {said}", advice=advice, status=status)


_REFUSALS = {
    401: ("it does not know the voucher", "check --voucher, or OBLIVIOUS_ISSUER_KEY"),
    402: ("the voucher has too little left", "top it up, or buy fewer or cheaper tokens"),
    404: ("there is nothing there", "check the gateway's configuration with its operator"),
    422: ("it does not sign such tokens now", "try again; the epoch may just have changed"),
    429: ("too many purchases at once", "wait a minute and try again"),
    503: ("it has no room now", "try again in a minute"),
}


def _balance(content: bytes) -> str | None:
    """Return what a refusal says of the account, if it says so."""
    try:
        members = strict_json.decode_object(content)
    except ProtocolError:
        return None
    balance, price = members.get("balance"), members.get("price")
    if type(balance) is not int or type(price) is not int:
        return None
    return f"the tokens cost {price} and {balance} are left on the voucher"


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
