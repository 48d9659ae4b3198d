"""Who asks, as Amazon wants it said: a bearer key, or a signature of version 4 (SigV4).

Credentials are those of `Account`: the key is the secret one if the settings have `access_key_id`,
and a bearer key otherwise.
"""

import hashlib
import hmac
import re
import time
from dataclasses import dataclass, field
from urllib.parse import quote

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.binary_http import Fields

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "bedrock"

# `bedrock-runtime.REGION.amazonaws.com`, and the names of endpoints within somebody's own network.
_REGION = re.compile(r"(?:^|\.)bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Whose signature it is, and where it holds."""

    access_key_id: str
    secret: str = field(repr=False)
    region: str
    session_token: str | None = field(default=None, repr=False)


def authorize(upstream: Upstream, account: Account, path: str, body: bytes, now: float) -> Fields:
    """Return the fields that say who asks; UpstreamError if the region is nowhere said.

    `path` is below the upstream's prefix, and `now` is Unix time.
    """
    settings = account.settings
    if account.key is None or "access_key_id" not in settings:
        return bearer(account)
    named = _REGION.search(upstream.authority)
    region = settings.get("region") or (named[1] if named else None)
    if region is None:
        raise UpstreamError(Failure.NO_KEY)
    credentials = Credentials(
        settings["access_key_id"], account.key, region, settings.get("session_token")
    )
    return sign(upstream.authority, upstream.path_prefix + path, body, credentials, now)


def bearer(account: Account) -> Fields:
    """Return the field that shows the key, if there is one."""
    if account.key is None:
        return ()
    return ((b"Authorization", b"Bearer " + account.key.encode("ascii")),)


def sign(authority: str, target: str, body: bytes, credentials: Credentials, now: float) -> Fields:
    """Return the fields that sign a POST of JSON to `target`, which is quoted and has no query."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    signed = {"content-type": "application/json", "host": authority, "x-amz-date": moment}
    if credentials.session_token is not None:
        signed["x-amz-security-token"] = credentials.session_token
    names = ";".join(sorted(signed))
    canonical = "\n".join(
        (
            "POST",
            quote(target, safe="/~"),  # once more: all services but one want it so
            "",
            *(f"{name}:{value}" for name, value in sorted(signed.items())),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{moment[:8]}/{credentials.region}/{SERVICE}/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = _signature(credentials.secret, scope, f"{ALGORITHM}\n{moment}\n{scope}\n{digest}")
    authorization = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    own = [(name, value) for name, value in signed.items() if name.startswith("x-amz-")]
    return tuple(
        (name.encode("ascii"), value.encode("ascii"))
        for name, value in (*own, ("Authorization", authorization))
    )


def _signature(secret: str, scope: str, text: str) -> str:
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()
