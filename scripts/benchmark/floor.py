"""What cryptography alone costs, and what this project's code adds to it: CPU microseconds."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from protocol import hkdf
from protocol.binary_http import Response, encode_response
from protocol.encapsulation import GatewayKey, decapsulate_request, encapsulate_request
from protocol.padding import pad

REQUEST_BYTES, ANSWER_BYTES = 1024, 400
BATCH, BATCHES = 200, 15
HMACS_OF_A_REQUEST = 12
"""HMAC-SHA256 calls that RFC 9180 and RFC 9458 ask of a gateway for one request and its answer.

DHKEM: extract, expand. Key schedule: extracts of psk_id, of info and of the secret, expands of
key, base nonce and exporter secret. Export: one. Response: extract, key, nonce.
"""


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
    cipher, nonce = ChaCha20Poly1305(os.urandom(32)), bytes(12)
    request = os.urandom(REQUEST_BYTES)
    answer = pad(encode_response(Response(200, (), os.urandom(ANSWER_BYTES))))
    sealed = cipher.encrypt(nonce, request, b"")
    key = GatewayKey.generate(1)
    arriving = encapsulate_request(key.config, request)[0]

    def whole() -> None:
        _, context = decapsulate_request([key], arriving)
        context.seal_response(answer)

    rows = {
        "X25519": cpu_microseconds(lambda: own.exchange(peer)),
        "one HMAC-SHA256": cpu_microseconds(lambda: hkdf.extract(bytes(32), bytes(32))),
        "AEAD open, 1 KiB": cpu_microseconds(lambda: cipher.decrypt(nonce, sealed, b"")),
        "AEAD seal, padded answer": cpu_microseconds(lambda: cipher.encrypt(nonce, answer, b"")),
        "open a request": cpu_microseconds(lambda: decapsulate_request([key], arriving)),
        "open a request and seal its answer": cpu_microseconds(whole),
    }
    rows["floor"] = (
        rows["X25519"]
        + HMACS_OF_A_REQUEST * rows["one HMAC-SHA256"]
        + rows["AEAD open, 1 KiB"]
        + rows["AEAD seal, padded answer"]
    )
    return rows


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the rows of the table; a quick run measures the same, it takes a second."""
    measured = measure()
    limit = measured["floor"]
    return {
        name: {"CPU µs": value, "times the floor": value / limit}
        for name, value in measured.items()
    }
