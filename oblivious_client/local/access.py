"""Who may ask through the local endpoint: programs of this machine, and whoever is named.

It speaks clear text and asks in its user's name, so three gates stand before it. The Host has to be
a name of this machine, or one that is allowed: a name that an attacker makes resolve to this
machine (DNS rebinding) shows there. A page of another site shows in Origin or in Sec-Fetch-Site,
which browsers set and scripts cannot; it has to be a site that is allowed by its exact origin.
Where there is a key every request has to carry it, be its address this machine's or not.

All three are looked at before a body is read. A preflight (Fetch, Section 4.8) carries no key: it
is answered by the Host and the Origin alone, and opens nothing by itself.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from oblivious_client.endpoint import is_loopback
from oblivious_client.errors import UsageError
from oblivious_client.local.messages import Fields, LocalRequest

SHORTEST_KEY = 16
"""In octets: less can be guessed by whoever reaches the address."""
LARGEST_KEY = 4096

PREFLIGHT_SECONDS = 600
"""For which a browser may keep the answer to a preflight."""

METHODS = b"GET, HEAD, POST"
_EXPOSED = b"retry-after, x-should-retry"
# Names of fields (RFC 9110, Section 5.6.2); what they hold stays on this machine.
_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_HOST = re.compile(r"(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]{1,5})?")
_DOUBTFUL = (b"host", b"origin", b"sec-fetch-site")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not come; the reader is the user of this machine."""

    status: int
    message: str
    code: str


@dataclass(frozen=True, slots=True)
class Access:
    """The three gates: `hosts` beside this machine's names, `origins` beside its own, the key."""

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    key: bytes | None = field(default=None, repr=False)

    def refusal(self, head: LocalRequest) -> Refusal | None:
        """Return why a request may not come, or None."""
        return self._wrong_place(head) or self._wrong_key(head)

    def allowed_origin(self, head: LocalRequest) -> bytes | None:
        """Return the other site that a request comes from, if that may ask."""
        origin = head.field(b"origin")
        return origin.encode("latin-1") if origin in self.origins and origin else None

    def fields_for(self, head: LocalRequest) -> Fields:
        """Return the fields by which the page of another site may read an answer."""
        if not self.origins:
            return ()
        vary: Fields = ((b"vary", b"origin"),)
        origin = self.allowed_origin(head)
        if origin is None:
            return vary
        allowed = (b"access-control-allow-origin", origin)
        return (allowed, (b"access-control-expose-headers", _EXPOSED), *vary)

    def _wrong_place(self, head: LocalRequest) -> Refusal | None:
        for name in _DOUBTFUL:
            if head.count(name) > 1:  # of which another reader might take the other
                said = f"the request has more than one {name.decode()}"
                return Refusal(403, said, "field_repeated")
        host = head.field(b"host")
        if host is None or not self._is_host(host_name(host)):
            said = "the Host is not this machine, and no --allow-host names it"
            return Refusal(403, said, "host_not_allowed")
        if not self._is_from_here(head, host):
            said = "the request comes from another site, which no --allow-origin names"
            return Refusal(403, said, "origin_not_allowed")
        return None

    def _is_host(self, name: str) -> bool:
        return names_this_machine(name) or name in self.hosts

    def _is_from_here(self, head: LocalRequest, host: str) -> bool:
        if self.allowed_origin(head) is not None:
            return True
        if head.field(b"origin") not in (None, f"http://{host}"):
            return False
        return head.field(b"sec-fetch-site") in (None, "same-origin", "none")

    def _wrong_key(self, head: LocalRequest) -> Refusal | None:
        if self.key is None or is_preflight(head):
            return None
        if carries(head, self.key):
            return None
        said = "the API key of this endpoint is missing or wrong: it is in the file of --api-key"
        return Refusal(401, said, "invalid_api_key")


def preflight_fields(head: LocalRequest) -> Fields:
    """Return what a browser is told that asks for a page whether it may send a request.

    Which names the fields of the request have is the page's own affair: SDKs have dozens.
    """
    fields: Fields = (
        (b"access-control-allow-methods", METHODS),
        (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
    )
    names = head.field(b"access-control-request-headers")
    if names and _NAMES.fullmatch(names):
        fields += ((b"access-control-allow-headers", names.encode("latin-1")),)
    if head.field(b"access-control-request-private-network") == "true":
        fields += ((b"access-control-allow-private-network", b"true"),)
    return fields


def is_preflight(head: LocalRequest) -> bool:
    """Whether a browser asks for a page, before that sends anything."""
    if head.method != "OPTIONS" or head.count(b"origin") != 1:
        return False
    return head.count(b"access-control-request-method") == 1


def carries(head: LocalRequest, key: bytes) -> bool:
    """Whether a request carries a key; how long that takes does not tell how much is right."""
    return any(hmac.compare_digest(each, key) for each in keys_in(head))


def keys_in(head: LocalRequest) -> list[bytes]:
    """Return the keys that a request carries, as OpenAI's programs send them and Anthropic's."""
    found = []
    scheme, _, token = (head.field(b"authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(token.strip().encode("latin-1"))
    key = head.field(b"x-api-key")
    if key is not None:
        found.append(key.encode("latin-1"))
    return found


def host_name(host: str) -> str:
    """Return the name in a Host without its port, or nothing if it is none."""
    match = _HOST.fullmatch(host)
    return "" if match is None else (match["six"] or match["name"]).lower()


def names_this_machine(name: str) -> bool:
    """Whether a Host names this machine; browsers look `localhost` and all below up nowhere."""
    return is_loopback(name) or name.endswith(".localhost")


def read_key(path: Path) -> bytes:
    """Return the key in a file, without the space around it; raises UsageError."""
    advice = f"write {SHORTEST_KEY} or more letters and digits into it, such as from a generator"
    try:
        with path.open("rb") as file:
            key = file.read(LARGEST_KEY + 1).strip()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", advice=advice) from error
    if not SHORTEST_KEY <= len(key) <= LARGEST_KEY or re.fullmatch(rb"[!-~]+", key) is None:
        raise UsageError(f"{path} holds no key of {SHORTEST_KEY} or more", advice=advice)
    return key


def read_origin(text: str) -> str:
    """Return an origin as browsers write it; raises UsageError."""
    try:
        url = httpx.URL(text)
        is_one = (
            url.scheme not in ("", "file")
            and url.host
            and text == f"{url.scheme}://{url.netloc.decode()}"
        )
    except (httpx.InvalidURL, UnicodeError):
        is_one = False
    if not is_one:
        raise UsageError(
            f"not an origin: {text!r}",
            advice="write it as browsers do: https://HOST[:PORT], without a path; no wildcards",
        )
    return text


def read_host(text: str) -> str:
    """Return a name that may stand in Host, without a port; raises UsageError."""
    name = text.lower()
    if host_name(name) != name or not re.fullmatch(r"[a-z0-9._-]+", name):
        raise UsageError(f"not a host name: {text!r}", advice="write NAME without a port")
    return name
