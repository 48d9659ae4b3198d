"""What proofs cost: verification, signatures, documents, and the replay check when it is full."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from enclave_server.gateway.replay import ReplayFilter, Verdict
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.attestation import verify_attestation
from protocol.signature import Algorithm, SigningKeys, sign_choices, verify_choices
from scripts.benchmark.floor import cpu_microseconds

DOCUMENTS = Path(__file__).resolve().parents[2] / "tests/vectors/nitro-attestation-documents.json"
STORED, WINDOW = 1_000_000, 300.0
USER_DATA = bytes(100)
REQUEST = b"q" * 1024
CHOICES = [{"index": 0, "message": {"content": "a" * 400}, "finish_reason": "stop"}]


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return CPU microseconds, and how many that is a second."""
    module = SimulatedSecurityModule()
    measured = {
        "verify a real attestation document": cpu_microseconds(_verification()),
        "make a simulated document": cpu_microseconds(
            lambda: module.attest(b"u" * 100, b"k" * 41, None)
        ),
        **_signatures(),
    }
    stored = STORED // 20 if quick else STORED
    measured[f"replay check, {stored:,} stored"] = cpu_microseconds(_replay_check(stored))
    return {name: {"CPU µs": value, "a second": 1e6 / value} for name, value in measured.items()}


def _signatures() -> dict[str, float]:
    """Return what signing an answer costs with each key, and verifying it."""
    keys = SigningKeys.generate()
    measured = {}
    for algorithm in Algorithm:
        sign = partial(sign_choices, keys.find(algorithm), REQUEST, CHOICES, model="m", timestamp=1)
        body = {"model": "m", **sign()}
        verify = partial(verify_choices, keys.public_keys, REQUEST, CHOICES, body)
        measured[f"sign an answer, {algorithm}"] = cpu_microseconds(sign)
        measured[f"verify an answer, {algorithm}"] = cpu_microseconds(verify)
    return measured


def _verification() -> Callable[[], object]:
    documents = json.loads(DOCUMENTS.read_text())["documents"]
    chosen = next(each for each in documents if each["valid"] and not each["debug_mode"])
    document, now = base64.b64decode(chosen["base64"]), chosen["timestamp_ms"] / 1000
    return lambda: verify_attestation(document, now=now)


def _replay_check(stored: int) -> Callable[[], object]:
    """Fill a filter with `stored` entries; return a check of one that is new."""
    replays = ReplayFilter(2 * stored)
    now = time.time()
    for _ in range(stored):
        if replays.insert(os.urandom(32), now + WINDOW, now) is not Verdict.NEW:
            raise RuntimeError("the filter refused a new entry")
    return lambda: replays.insert(os.urandom(32), now + WINDOW, now)
