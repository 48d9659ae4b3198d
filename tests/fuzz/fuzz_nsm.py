"""The security module's answers: whatever its driver gives is an answer or an error of ours."""

import ctypes
import struct

import cbor2

from enclave_server.security_module.nsm import NitroSecurityModule, NsmError
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Refused

DEVICE = "/dev/null"
attempt = Attempt(NsmError)

FAULTS = (
    slips("enclave_server.security_module.nsm._bytes", NsmError),
    slips("protocol.cbor.decode"),
    returns("enclave_server.security_module.nsm._bytes", lambda value: value + b"x"),
)


def seeds() -> list[bytes]:
    """Return an answer to each question, errors, and answers that are none."""
    described = {
        **{f"version_{part}": 1 for part in ("major", "minor", "patch")},
        **{"module_id": "i-1", "max_pcrs": 32, "locked_pcrs": [0, 1], "digest": "SHA384"},
    }
    answers = [
        {"Attestation": {"document": b"x" * 40}},
        {"GetRandom": {"random": bytes(range(256))}},
        {"GetRandom": {"random": b""}},
        {"GetRandom": {"random": bytes(257)}},
        {"DescribeNSM": described},
        {"DescribeNSM": {**described, "locked_pcrs": [None, "x"]}},
        {"Error": "InternalError"},
        {"Error": "Another"},
        {"Attestation": []},
        "Success",
    ]
    return [cbor2.dumps(each) for each in answers]


def run(data: bytes) -> None:
    """Ask a module that always answers `data`."""

    def ioctl(descriptor: int, number: int, argument: bytearray, mutate: bool) -> int:
        received = struct.unpack("@QQQQ", argument)[2]
        ctypes.memmove(received, data, len(data))
        struct.pack_into("@Q", argument, 24, len(data))
        return 0

    with NitroSecurityModule(DEVICE, ioctl=ioctl) as module:
        document = attempt(module.attest, b"user", b"key", None)
        random = attempt(module.random, 300)
        described = attempt(module.describe)
    if not isinstance(document, Refused):
        assert cbor2.loads(data)["Attestation"]["document"] == document
    if not isinstance(random, Refused):
        assert len(random) == 300
        assert random.startswith(cbor2.loads(data)["GetRandom"]["random"])
    if not isinstance(described, Refused):
        assert all(isinstance(number, int) for number in described.version)
