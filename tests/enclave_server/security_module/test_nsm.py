"""The security module's client, against a stand-in for the driver that speaks the device's CBOR."""

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest

from enclave_server.security_module.nsm import (
    DEVICE,
    ERRORS,
    IOCTL_RAW,
    MAX_ANSWER_BYTES,
    Description,
    NitroSecurityModule,
    NsmError,
    SecurityModule,
)
from protocol.attestation import AWS_ROOT_G1
from protocol.evidence import Platform


class StandInDriver:
    """In place of the driver's ioctl: reads the request's memory, writes the answer's."""

    def __init__(self, answer: Callable[[Any], bytes]) -> None:
        self.answer = answer
        self.requests: list[Any] = []

    def __call__(self, descriptor: int, number: int, argument: bytearray, mutate: bool) -> int:
        assert os.fstat(descriptor)
        assert (number, mutate, len(argument)) == (IOCTL_RAW, True, 32)
        sent, sent_size, received, room = struct.unpack("=QQQQ", argument)
        assert room == MAX_ANSWER_BYTES
        self.requests.append(cbor2.loads(ctypes.string_at(sent, sent_size)))
        answer = self.answer(self.requests[-1])
        ctypes.memmove(received, answer, len(answer))
        argument[24:32] = struct.pack("=Q", len(answer))
        return 0


@pytest.fixture
def device(tmp_path: Path) -> str:
    """A file in the device's place: something to open."""
    path = tmp_path / "nsm"
    path.touch()
    return str(path)


def speaking(device: str, answer: object) -> tuple[NitroSecurityModule, StandInDriver]:
    driver = StandInDriver(lambda request: cbor2.dumps(answer))
    return NitroSecurityModule(device, ioctl=driver), driver


def test_attestation(device: str) -> None:
    module, driver = speaking(device, {"Attestation": {"document": b"signed"}})
    with module:
        assert module.attest(b"data", b"key", b"nonce") == b"signed"
        assert module.attest(None, None, None) == b"signed"
    fields = {"user_data": b"data", "public_key": b"key", "nonce": b"nonce"}
    assert driver.requests == [{"Attestation": fields}, {"Attestation": dict.fromkeys(fields)}]


def test_random_is_gathered_from_as_many_calls_as_it_takes(device: str) -> None:
    parts = [bytes([number]) * 256 for number in range(3)]
    driver = StandInDriver(lambda _: cbor2.dumps({"GetRandom": {"random": parts.pop(0)}}))
    with NitroSecurityModule(device, ioctl=driver) as module:
        assert module.random(600) == b"\x00" * 256 + b"\x01" * 256 + b"\x02" * 88
        assert module.random(0) == b""
    assert driver.requests == ["GetRandom"] * 3


DESCRIPTION = {
    "version_major": 1,
    "version_minor": 2,
    "version_patch": 3,
    "module_id": "i-0-enc0",
    "max_pcrs": 32,
    "locked_pcrs": [0, 1, 2],
    "digest": "SHA384",
}


def test_description(device: str) -> None:
    module, driver = speaking(device, {"DescribeNSM": DESCRIPTION})
    with module:
        locked = frozenset((0, 1, 2))
        assert module.describe() == Description((1, 2, 3), "i-0-enc0", 32, locked, "SHA384")
    assert driver.requests == ["DescribeNSM"]


def test_it_is_a_security_module(device: str) -> None:
    module: SecurityModule = NitroSecurityModule(device)
    assert module.platform is Platform.AWS_NITRO


@pytest.mark.parametrize(
    "fields",
    [
        (bytes(513), None, None),
        (None, bytes(1025), None),
        (None, None, bytes(513)),
        (None, b"", None),
    ],
    ids=["user_data", "public_key", "nonce", "empty public_key"],
)
def test_sizes_are_checked_before_asking(
    device: str, fields: tuple[bytes | None, bytes | None, bytes | None]
) -> None:
    module, driver = speaking(device, {"Attestation": {"document": b"signed"}})
    with module, pytest.raises(ValueError, match=r"bytes|empty"):
        module.attest(*fields)
    assert driver.requests == []


def test_the_largest_sizes_pass(device: str) -> None:
    module, _ = speaking(device, {"Attestation": {"document": b"signed"}})
    with module:
        assert module.attest(bytes(512), bytes(1024), bytes(512)) == b"signed"


@pytest.mark.parametrize("code", [*ERRORS, "SomethingNew"])
def test_every_error_of_the_module_is_one_clear_error(device: str, code: str) -> None:
    module, _ = speaking(device, {"Error": code})
    with module, pytest.raises(NsmError, match=rf"^security module: .* \({code}\)$") as caught:
        module.attest(None, None, None)
    assert caught.value.code == code


WRONG_ANSWERS = {
    "nothing": b"",
    "no CBOR": b"\xff",
    "trailing": cbor2.dumps({"Attestation": {"document": b"signed"}}) + b"\x00",
    "text": cbor2.dumps("Attestation"),
    "no operation": cbor2.dumps({}),
    "another operation": cbor2.dumps({"GetRandom": {"random": b"r"}}),
    "no body": cbor2.dumps({"Attestation": None}),
    "no document": cbor2.dumps({"Attestation": {}}),
    "document as text": cbor2.dumps({"Attestation": {"document": "signed"}}),
    "error as number": cbor2.dumps({"Error": 5}),
}


@pytest.mark.parametrize("answer", WRONG_ANSWERS.values(), ids=WRONG_ANSWERS)
def test_answers_that_are_none(device: str, answer: bytes) -> None:
    driver = StandInDriver(lambda _: answer)
    with NitroSecurityModule(device, ioctl=driver) as module:
        with pytest.raises(NsmError) as caught:
            module.attest(None, None, None)
        assert caught.value.code == "InvalidResponse"


@pytest.mark.parametrize("random", [b"", bytes(257), None])
def test_random_that_is_none(device: str, random: bytes | None) -> None:
    module, _ = speaking(device, {"GetRandom": {"random": random}})
    with module, pytest.raises(NsmError):
        module.random(16)


@pytest.mark.parametrize("name", DESCRIPTION)
def test_descriptions_that_lack_something(device: str, name: str) -> None:
    for changed in ({}, {name: None}):
        body = {key: value for key, value in DESCRIPTION.items() if key != name} | changed
        module, _ = speaking(device, {"DescribeNSM": body})
        with module, pytest.raises(NsmError):
            module.describe()


def test_a_length_beyond_the_buffer(device: str) -> None:
    def ioctl(descriptor: int, number: int, argument: bytearray, mutate: bool) -> int:
        argument[24:32] = struct.pack("=Q", MAX_ANSWER_BYTES + 1)
        return 0

    with NitroSecurityModule(device, ioctl=ioctl) as module, pytest.raises(NsmError):
        module.describe()


@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.ETIMEDOUT, errno.ENODEV, errno.EPERM])
def test_errors_of_the_driver(device: str, number: int) -> None:
    def ioctl(*_: object) -> int:
        raise OSError(number, "")

    with NitroSecurityModule(device, ioctl=ioctl) as module:
        with pytest.raises(NsmError) as caught:
            module.describe()
        assert caught.value.code == errno.errorcode[number]


def test_no_device(tmp_path: Path) -> None:
    with pytest.raises(NsmError, match="not an enclave") as caught:
        NitroSecurityModule(str(tmp_path / "absent"))
    assert caught.value.code == "ENOENT"


def test_a_file_that_is_no_device(device: str) -> None:
    with NitroSecurityModule(device) as module, pytest.raises(NsmError) as caught:
        module.describe()
    assert caught.value.code == "ENOTTY"


@pytest.mark.skipif(not Path(DEVICE).exists(), reason="not in an enclave: there is no /dev/nsm")
def test_the_real_device() -> None:
    with NitroSecurityModule() as module:
        assert module.describe().digest == "SHA384"
        assert len(module.random(300)) == 300
        assert module.attest(b"data", b"key", b"nonce")


def test_a_descriptor_that_a_parent_opened(device: str) -> None:
    descriptor = os.open(device, os.O_RDWR)
    os.set_inheritable(descriptor, True)
    driver = StandInDriver(lambda request: cbor2.dumps({"GetRandom": {"random": bytes(256)}}))
    with NitroSecurityModule(f"fd:{descriptor}", ioctl=driver) as module:
        assert module.random(16) == bytes(16)
        assert not os.get_inheritable(descriptor)  # the engine is started later


@pytest.mark.parametrize(
    "name", ["fd:", "fd:-1", "fd:x", "fd:9999", "fd:²", f"fd:{2**32}", "fd:" + "9" * 5000]
)
def test_a_descriptor_that_is_not_open(name: str) -> None:
    with pytest.raises(NsmError):
        NitroSecurityModule(name)


def test_the_number_of_the_request_is_that_of_the_driver() -> None:
    """_IOWR(0x0A, 0, struct nsm_raw): read and write, its size, its letter, its number."""
    assert 3 << 30 | struct.calcsize("@QQQQ") << 16 | 0x0A << 8 | 0 == IOCTL_RAW


@pytest.mark.parametrize(("more", "good"), [(0, True), (1, False)])
def test_an_answer_has_the_room_that_the_driver_gives(device: str, more: int, good: bool) -> None:
    room = 0x3000  # NSM_RESPONSE_MAX_SIZE
    least = len(cbor2.dumps({"Attestation": {"document": bytes(0x2F00)}})) - 0x2F00
    document = b"x" * (room - least + more)
    answer = cbor2.dumps({"Attestation": {"document": document}})
    assert len(answer) == room + more

    def ioctl(descriptor: int, number: int, argument: bytearray, mutate: bool) -> int:
        _, _, received, given = struct.unpack("=QQQQ", argument)
        assert given == room
        ctypes.memmove(received, answer, room)
        argument[24:32] = struct.pack("=Q", len(answer))
        return 0

    with NitroSecurityModule(device, ioctl=ioctl) as module:
        if good:
            assert module.attest(None, None, None) == document
            return
        with pytest.raises(NsmError):
            module.attest(None, None, None)


def test_the_device_is_read_and_written_and_nobody_inherits_it(device: str) -> None:
    with NitroSecurityModule(device) as module:
        flags = fcntl.fcntl(module._descriptor, fcntl.F_GETFL)
        assert flags & os.O_ACCMODE == os.O_RDWR
        assert not os.get_inheritable(module._descriptor)


def test_a_register_is_described(device: str) -> None:
    module, driver = speaking(device, {"DescribePCR": {"lock": True, "data": b"p" * 48}})
    assert module.describe_pcr(3) == b"p" * 48
    assert driver.requests == [{"DescribePCR": {"index": 3}}]
    assert module.root == AWS_ROOT_G1


@pytest.mark.parametrize("data", [b"", b"p" * 47, b"p" * 49, "p" * 48, None])
def test_a_register_of_another_size_is_none(device: str, data: object) -> None:
    module, _ = speaking(device, {"DescribePCR": {"lock": True, "data": data}})
    with pytest.raises(NsmError):
        module.describe_pcr(0)
