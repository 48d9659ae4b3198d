"""Provisioning: the operator's API keys, sealed to an enclave that has proven what it runs.

The secrets are signed for the enclave whose evidence has just verified, and only then sealed to its
key. They stay out of command lines, of the environment and of everything that is printed.
"""

from __future__ import annotations

import base64
import getpass
import stat
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from oblivious_client.answers import raise_for_error
from oblivious_client.client import TIMEOUT, evidence_of
from oblivious_client.errors import ClientError, ServiceError, UsageError
from oblivious_client.exchange import content_type
from oblivious_client.exits import Exit
from oblivious_client.transport import ObliviousTransport
from protocol.evidence import VerifiedEvidence
from protocol.provisioning import PATH, Secrets, sign_secrets
from protocol.registry import PROBLEM_JSON
from protocol.signature import key_identifier

# Only the path is sealed; there is no such host.
_URL = httpx.URL("https://sealed.invalid").copy_with(raw_path=PATH)
_TABLES = frozenset({"keys", "settings"})
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def provision(
    transport: ObliviousTransport,
    secrets: Secrets,
    administrator: Ed25519PrivateKey,
    *,
    clock: Callable[[], float] = time.time,
) -> None:
    """Return once the enclave has accepted `secrets`; raises EvidenceRefused before it sees any.

    ClientError with an exit code of its own if it has secrets already or wants another signature.
    """

    def ask(verified: VerifiedEvidence) -> httpx.Response:
        tee_id = key_identifier(verified.signing_key)
        content = _signed(administrator, secrets, tee_id, int(clock()))
        return http.post(_URL, content=content)

    verified = transport.evidence()
    http = httpx.Client(transport=transport, timeout=TIMEOUT)
    response = ask(verified)
    reached = evidence_of(response)
    if reached.signing_key != verified.signing_key:
        # Another enclave has taken its place meanwhile; its evidence has verified as well.
        response = ask(reached)
    _raise_for_refusal(response, administrator)


def read_secrets(path: Path) -> Secrets:
    """Return the secrets in a TOML file; raises UsageError, which never shows a value."""
    advice = 'write [keys] and a line such as NAME = "sk-..." for each upstream'
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", advice=advice) from error
    except (ValueError, RecursionError):  # TOMLDecodeError is a ValueError
        # The parser's own words could quote what is in the file.
        raise UsageError(f"{path} is not TOML", advice=advice) from None
    unknown = sorted(tables.keys() - _TABLES)
    if unknown:
        raise UsageError(f"{path} has an unknown table or key: {unknown[0]}", advice=advice)
    try:
        return _secrets(tables)
    except ValueError as error:
        raise UsageError(f"{path}: {error}", advice=advice) from error


def read_administrator(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a PEM file, asking for its passphrase if it has one."""
    advice = "make one with: openssl genpkey -algorithm ed25519 -out FILE"
    try:
        key = _load(path.read_bytes(), path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", advice=advice) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} holds no private key in PEM", advice=advice) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} holds no Ed25519 key", advice=advice)
    return key


def is_open_to_others(path: Path) -> bool:
    """Whether other users of this machine may do anything with a file."""
    system: str = sys.platform
    if system == "win32":  # whose modes tell nothing of others
        return False
    found = path.stat().st_mode
    return stat.S_ISREG(found) and bool(found & _OTHERS)


def public_key_text(key: Ed25519PrivateKey) -> str:
    """Return the public key as a server's configuration names its administrator."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def _load(pem: bytes, path: Path) -> object:
    try:
        return load_pem_private_key(pem, password=None)
    except TypeError:  # it is encrypted
        passphrase = _ask_passphrase(path)
    try:
        return load_pem_private_key(pem, passphrase)
    except ValueError as error:
        raise UsageError(
            f"the passphrase does not open {path}", advice="type it once more"
        ) from error


def _ask_passphrase(path: Path) -> bytes:
    try:
        return getpass.getpass(f"passphrase of {path}: ").encode()
    except EOFError as error:
        raise UsageError(
            f"{path} wants a passphrase and nobody is here to type it",
            advice="run this in a terminal",
        ) from error


def _secrets(tables: dict[str, Any]) -> Secrets:
    settings = tables.get("settings", {})
    if not isinstance(settings, dict):
        raise ValueError("settings is no table")
    accounts = {name: _texts(f"settings.{name}", account) for name, account in settings.items()}
    return Secrets(_texts("keys", tables.get("keys", {})), accounts)


def _texts(name: str, table: object) -> dict[str, str]:
    if not isinstance(table, dict):
        raise ValueError(f"{name} is no table")
    for key, value in table.items():
        if not isinstance(value, str):
            raise ValueError(f"{name}.{key} is no string")
    return table


def _signed(key: Ed25519PrivateKey, secrets: Secrets, tee_id: str, timestamp: int) -> bytes:
    try:
        return sign_secrets(key, secrets, tee_id=tee_id, timestamp=timestamp)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _raise_for_refusal(response: httpx.Response, administrator: Ed25519PrivateKey) -> None:
    match response.status_code:
        case httpx.codes.NO_CONTENT:
            return
        # A problem says that the request had come before, not that secrets had.
        case httpx.codes.CONFLICT if content_type(response) != PROBLEM_JSON.decode():
            raise ClientError(
                "the enclave has its secrets already: it takes them once",
                advice="if they have to change, start the enclave anew and provision it again",
                code=Exit.PROVISIONED_BEFORE,
            )
        case httpx.codes.FORBIDDEN:
            raise ClientError(
                "the enclave does not take this signature",
                advice=(
                    "its measured configuration names the administrator, and yours is "
                    f"{public_key_text(administrator)}; else check this machine's clock"
                ),
                code=Exit.NOT_ADMINISTRATOR,
            )
        case httpx.codes.NOT_FOUND:
            raise ServiceError(404, "its configuration names no administrator")
    raise_for_error(response.status_code, response.content)
    raise ServiceError(response.status_code, "not what it answers to secrets")
