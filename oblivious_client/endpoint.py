"""Where the client sends: a relay or, for trials, the gateway itself."""

from __future__ import annotations

import enum
import ipaddress
import socket
from dataclasses import dataclass

import httpx

from oblivious_client.errors import UsageError
from protocol.registry import OHTTP_GATEWAY_PATH

_EVIDENCE = "/v1/attestation"
_GATEWAY_RESOURCE = "/v1/ohttp"
_RELEASES = "/.well-known/oblivious-inference/releases.json"
_KEYS_SEEN = "/.well-known/oblivious-inference/keys-seen.json"
MAX_PORT = 65535


class Role(enum.Enum):
    """Which party stands at the address."""

    RELAY = "relay"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address of a relay or gateway, and the resources found there."""

    role: Role
    url: httpx.URL
    socket_path: str | None = None

    @classmethod
    def parse(cls, role: Role, text: str) -> Endpoint:
        """Parse `http(s)://…` or `unix:PATH`; raises UsageError."""
        if text.startswith("unix:") and len(text) > len("unix:"):
            if not hasattr(socket, "AF_UNIX"):
                raise UsageError(
                    "this system has no Unix sockets", advice="give an address with http(s)://"
                )
            return cls(role, httpx.URL("http://localhost/"), text.removeprefix("unix:"))
        try:
            url = httpx.URL(text)
            is_usable = _is_usable(url)
        except (httpx.InvalidURL, UnicodeError) as error:  # what names are made of is not all ours
            raise _wrong_address(role, text) from error
        if not is_usable:
            raise _wrong_address(role, text)
        return cls(role, url.copy_with(fragment=None))

    @property
    def resource(self) -> httpx.URL:
        """The URL that takes sealed requests: a relay maps its own to the gateway's."""
        if self.role is Role.RELAY:
            return self.url
        return self.url.join(_GATEWAY_RESOURCE)

    def evidence(self, nonce: bytes | None = None) -> httpx.URL:
        """The URL of the evidence; a nonce makes the gateway sign a fresh document."""
        url = self.url.join(_EVIDENCE)
        return url if nonce is None else url.copy_with(params={"nonce": nonce.hex()})

    @property
    def keys(self) -> httpx.URL:
        """The URL of the key configurations (RFC 9540)."""
        return self.url.join(OHTTP_GATEWAY_PATH.decode())

    @property
    def releases(self) -> httpx.URL:
        """The URL of the list of releases, which a relay or front serves as a file."""
        return self.url.join(_RELEASES)

    @property
    def keys_seen(self) -> httpx.URL:
        """The URL of the mirrors' notes, which a relay or front serves as a file."""
        return self.url.join(_KEYS_SEEN)

    @property
    def is_protected(self) -> bool:
        """Whether nobody between here and the address sees the traffic."""
        if self.url.scheme == "https" or self.socket_path is not None:
            return True
        return is_loopback(self.url.host)

    def __str__(self) -> str:
        """Return the address as it is shown and as the cache knows it."""
        if self.socket_path is not None:
            return f"{self.role.value} unix:{self.socket_path}"
        return f"{self.role.value} {self.url}"


def is_loopback(host: str) -> bool:
    """Whether `host` (no port, no brackets) names this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_usable(url: httpx.URL) -> bool:
    """Whether a relay or gateway can be at a URL; UnicodeError for a name that is none."""
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        return False
    if url.port is not None and url.port > MAX_PORT:
        return False
    return _can_be_looked_up(url)


def _can_be_looked_up(url: httpx.URL) -> bool:
    try:
        url.raw_host.decode("ascii").encode("idna")  # which `socket` does as well, and unguarded
    except UnicodeError:  # an empty label, or one of more than 63 characters
        return False
    return True


def _wrong_address(role: Role, text: str) -> UsageError:
    return UsageError(
        f"not an address of a {role.value}: {text!r}",
        advice="write https://HOST[:PORT][/PATH], http://… for trials, or unix:PATH",
    )
