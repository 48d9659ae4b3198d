"""What the tests of provisioning share: an administrator, a server that waits for its secrets."""

import base64
import json
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from enclave_server.http.dates import format_date
from protocol.binary_http import Request
from protocol.provisioning import Secrets, sign_secrets

KEY = "sk-the-host-must-never-see-this-0123456789"
ADMINISTRATOR = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
SECRETS = Secrets({"provider": KEY})


def public_text(key: Ed25519PrivateKey = ADMINISTRATOR) -> str:
    """Return a public key as the configuration has it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def waiting_config(upstream: str, *more: str) -> str:
    """Return a configuration whose one model, `stand-in`, needs a key that is provisioned."""
    return "\n".join(
        [
            '[[models]]\nname = "stand-in"\nupstream = "provider"',
            f'[upstreams.provider]\naddress = "{upstream}"\nkey_provisioned = true',
            *more,
            f'[provision]\nadministrator_key = "{public_text()}"\n',
        ]
    )


def statement(
    tee_id: str,
    secrets: Secrets = SECRETS,
    *,
    key: Ed25519PrivateKey = ADMINISTRATOR,
    timestamp: float | None = None,
) -> bytes:
    """Return the content of an honest request, or of one by another `key` or at another time."""
    signed = int(time.time() if timestamp is None else timestamp)
    return sign_secrets(key, secrets, tee_id=tee_id, timestamp=signed)


def provision_request(content: bytes, method: bytes = b"POST") -> Request:
    """Return the inner request, dated now."""
    headers = (
        (b"content-type", b"application/json"),
        (b"date", format_date(time.time())),
    )
    return Request(method, b"https", b"", b"/v1/provision", headers, content)


def code_of(content: bytes) -> str | None:
    """Return the code in an error object."""
    code = json.loads(content)["error"]["code"]
    return None if code is None else str(code)


def write_key(
    path: Path, key: Ed25519PrivateKey = ADMINISTRATOR, passphrase: str | None = None
) -> Path:
    """Write a private key as openssl does."""
    protection: KeySerializationEncryption = NoEncryption()
    if passphrase is not None:
        protection = BestAvailableEncryption(passphrase.encode())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
    path.chmod(0o600)
    return path


def write_secrets(path: Path, text: str = f'[keys]\nprovider = "{KEY}"\n') -> Path:
    """Write a secrets file that nobody else can open."""
    path.write_text(text)
    path.chmod(0o600)
    return path
