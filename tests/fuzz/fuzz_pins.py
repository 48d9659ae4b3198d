"""Pinned measurements: any file is pins of whole registers, or an error of ours."""

import json

from oblivious_client import policy
from oblivious_client.errors import UsageError
from oblivious_client.policy import Policy
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, MemoryFile, Refused

FILE = MemoryFile()
attempt = Attempt(UsageError)

FAULTS = (
    slips("protocol.attestation._normalised"),
    slips("protocol.strict_json.decode"),
    returns("oblivious_client.policy.parse_pcrs", lambda pins: {**pins, 40: b""}),
)


def seeds() -> list[bytes]:
    """Return measurements as they are printed, and what is none."""
    pins = {f"PCR{index}": f"{index:02x}" * 48 for index in range(3)}
    printed = {"Measurements": {"HashAlgorithm": "Sha384 { ... }", **pins}}
    odd = [{"PCR0": "zz"}, {"PCR0": 1}, {"PCR01": ""}, {"PCR32": "00" * 48}, {"Measurements": []}]
    texts = [json.dumps(each).encode() for each in (printed, pins, [printed, pins], [], *odd, [1])]
    depths = range(930, 1000, 2)
    deep = [b"[" * depth + b'"\\ud83d\\ude00"' + b"]" * depth for depth in depths]
    return [*texts, *deep, b"\xff", b'{"PCR0":"' + "é".encode() * 48 + b'"}', b'{"PCR0":"\\ud800"}']


def run(data: bytes) -> None:
    """Read a file of measurements."""
    releases = attempt(policy.read_releases, FILE.holding(data))
    if isinstance(releases, Refused):
        return
    assert releases
    for pins in releases:
        assert pins
        assert all(0 <= index < 32 and len(value) == 48 for index, value in pins.items())
    pinned = Policy(pcrs=releases[0], also=releases[1:])
    assert pinned.fingerprint() != Policy().fingerprint()
    assert Policy(pcrs=releases[0]).fingerprint() == Policy(pcrs=dict(releases[0])).fingerprint()
