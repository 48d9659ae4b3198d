"""A file with the root of several simulated modules, which so believe each other's documents."""

import contextlib
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from enclave_server.security_module.simulated import Authority, name_of, new_root
from protocol.evidence import SIMULATED_PREFIX


def shared_root(file: Path) -> Authority:
    """Return the root in `file`, which is made if there is none; OSError or ValueError if not.

    Of several that make it at the same time one succeeds, and the others take that one.
    """
    if not file.exists():
        _make(file)
    pem = file.read_bytes()
    key = load_pem_private_key(pem, password=None)
    root = Authority(_elliptic(key), x509.load_pem_x509_certificate(pem))
    if not name_of(root).startswith(SIMULATED_PREFIX):
        raise ValueError("the certificate in it is not a simulated one")
    return root


def _elliptic(key: object) -> EllipticCurvePrivateKey:
    if not isinstance(key, EllipticCurvePrivateKey):
        raise ValueError("the key in it is none of an elliptic curve")
    return key


def _make(file: Path) -> None:
    root = new_root(datetime.now(UTC))
    key = root.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key + root.certificate.public_bytes(Encoding.PEM))
        # A link never replaces what another process put there first, and is never half written.
        with contextlib.suppress(FileExistsError):
            file.hardlink_to(draft)
    finally:
        draft.unlink()
