"""What cryptography alone costs, and what this project's code adds to it: CPU microseconds."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocol import hkdf
from protocol.binary_http import Response, encode_response
from protocol.encapsulation import GatewayKey, decapsulate_request, encapsulate_request
from protocol.kem import X25519_HKDF_SHA256, X_WING, Kem
from protocol.padding import pad

REQUEST_BYTES, ANSWER_BYTES = 1024, 400
COMBINED_BYTES = 134  # two shared secrets, two X25519 keys, a label
X_WING_ROW = ", X-Wing"
"""Ends the names of rows that have a counterpart with X25519."""
BATCH, BATCHES = 200, 15
HMACS_OF_A_REQUEST = 12
"""HMAC-SHA256 calls that RFC 9180 and RFC 9458 ask of a gateway for one request and its answer.

DHKEM: extract, expand. Key schedule: extracts of psk_id, of info and of the secret, expands of
key, base nonce and exporter secret. Export: one. Response: extract, key, nonce.
"""
HMACS_WITH_X_WING = HMACS_OF_A_REQUEST - 2
"""X-Wing has one SHA3-256 in the place of DHKEM's two."""


def cpu_microseconds(work: Callable[[], object]) -> float:
    """Return the median CPU time of one call of `work`."""
    times = []
    for _ in range(BATCHES):
        started = time.process_time_ns()
        for _ in range(BATCH):
            work()
        times.append((time.process_time_ns() - started) / BATCH / 1000)
    return statistics.median(times)


async def awaited_microseconds(work: Callable[[], Awaitable[None]]) -> float:
    """Return the median CPU time of one call of `work`, awaited."""
    times = []
    for _ in range(BATCHES):
        started = time.process_time_ns()
        for _ in range(BATCH):
            await work()
        times.append((time.process_time_ns() - started) / BATCH / 1000)
    return statistics.median(times)


def measure() -> dict[str, float]:
    """Return CPU microseconds by name."""
    own, peer = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()
    ml_kem = MLKEM768PrivateKey.generate()
    _, sent = ml_kem.public_key().encapsulate()
    combined = os.urandom(COMBINED_BYTES)
    cipher, nonce = ChaCha20Poly1305(os.urandom(32)), bytes(12)
    request = os.urandom(REQUEST_BYTES)
    answer = pad(encode_response(Response(200, (), os.urandom(ANSWER_BYTES))))
    sealed = cipher.encrypt(nonce, request, b"")
    rows = {
        "X25519": cpu_microseconds(lambda: own.exchange(peer)),
        "ML-KEM-768": cpu_microseconds(lambda: ml_kem.decapsulate(sent)),
        "SHA3-256 of X-Wing": cpu_microseconds(lambda: hashlib.sha3_256(combined).digest()),
        "one HMAC-SHA256": cpu_microseconds(lambda: hkdf.extract(bytes(32), bytes(32))),
        "AEAD open, 1 KiB": cpu_microseconds(lambda: cipher.decrypt(nonce, sealed, b"")),
        "AEAD seal, padded answer": cpu_microseconds(lambda: cipher.encrypt(nonce, answer, b"")),
        **_exchanges(X25519_HKDF_SHA256, "", request, answer),
        **_exchanges(X_WING, X_WING_ROW, request, answer),
    }
    hmac = rows["one HMAC-SHA256"]
    both = rows["X25519"] + rows["AEAD open, 1 KiB"] + rows["AEAD seal, padded answer"]
    rows["floor"] = both + HMACS_OF_A_REQUEST * hmac
    post_quantum = rows["ML-KEM-768"] + rows["SHA3-256 of X-Wing"]
    rows[f"floor{X_WING_ROW}"] = both + post_quantum + HMACS_WITH_X_WING * hmac
    return rows


def _exchanges(kem: Kem, suffix: str, request: bytes, answer: bytes) -> dict[str, float]:
    """Return what this project's code takes with one mechanism."""
    key = GatewayKey.generate(1, kem)
    arriving = encapsulate_request(key.config, request)[0]

    def whole() -> None:
        _, context = decapsulate_request([key], arriving)
        context.seal_response(answer)

    opening = cpu_microseconds(lambda: decapsulate_request([key], arriving))
    return {
        f"open a request{suffix}": opening,
        f"open a request and seal its answer{suffix}": cpu_microseconds(whole),
    }


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the rows of the table; a quick run measures the same, it takes a second."""
    measured = measure()
    return {
        name: {"CPU µs": value, "times the floor": value / _limit(measured, name)}
        for name, value in measured.items()
    }


def _limit(measured: dict[str, float], name: str) -> float:
    """Return the floor that a row stands on."""
    return measured[f"floor{X_WING_ROW}" if name.endswith(X_WING_ROW) else "floor"]
