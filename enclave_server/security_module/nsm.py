"""The Nitro Secure Module, spoken to directly: CBOR over an ioctl of /dev/nsm.

After the Linux driver (include/uapi/linux/nsm.h) and AWS's NSM API (aws-nitro-enclaves-nsm-api).
"""

import ctypes
import errno
import fcntl
import os
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import cbor2
from cryptography import x509

from protocol import cbor
from protocol.attestation import AWS_ROOT_G1, PCR_BYTES
from protocol.errors import MalformedMessage
from protocol.evidence import Platform

DEVICE = "/dev/nsm"
INHERITED = "fd:"
"""Stands before the number of a descriptor that a parent opened and that we may not open."""

IOCTL_RAW = 0xC0200A00
"""_IOWR(0x0A, 0, struct nsm_raw): two iovecs, the request and the room for its answer."""

MAX_ANSWER_BYTES = 0x3000
"""NSM_RESPONSE_MAX_SIZE; the largest request that the sizes below allow is half of 0x1000."""

MAX_USER_DATA_BYTES, MAX_NONCE_BYTES, MAX_PUBLIC_KEY_BYTES = 512, 512, 1024
MAX_RANDOM_BYTES = 256
"""GetRandom gives at most this many bytes a call."""

ERRORS = {
    "InvalidArgument": "it found an argument invalid",
    "InvalidIndex": "it has no such PCR",
    "InvalidResponse": "its response did not belong to the request",
    "ReadOnlyIndex": "the PCR is locked",
    "InvalidOperation": "it does not offer this operation",
    "BufferTooSmall": "its answer did not fit the buffer",
    "InputTooLarge": "it found the request too large",
    "InternalError": "it failed internally",
}

OS_ERRORS = {
    errno.ENOENT: "there is none: this is not an enclave, or the nsm module is not loaded",
    errno.EACCES: "this user may not open it",
    errno.EPERM: "this user may not open it",
    errno.EBADF: "the descriptor is not open",
    errno.EMSGSIZE: "it found the request too large",
    errno.ETIMEDOUT: "it did not answer in time",
}

Ioctl = Callable[[int, int, bytearray, bool], int]


class NsmError(Exception):
    """The security module cannot be used, or refused; `code` is its word for it, or an errno's."""

    def __init__(self, code: str, explanation: str) -> None:
        super().__init__(f"security module: {explanation} ({code})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Description:
    """What a security module says of itself."""

    version: tuple[int, int, int]
    module_id: str
    max_pcrs: int
    locked_pcrs: frozenset[int]
    digest: str


class SecurityModule(Protocol):
    """What keys and evidence need of a security module, real or simulated."""

    @property
    def platform(self) -> Platform:
        """What its documents are evidence of."""

    def attest(
        self, user_data: bytes | None, public_key: bytes | None, nonce: bytes | None
    ) -> bytes:
        """Return a signed document (COSE_Sign1) that holds these three, or raise NsmError."""

    def random(self, count: int) -> bytes:
        """Return `count` random bytes of the module's own."""

    def describe(self) -> Description:
        """Return what the module says of itself."""

    def describe_pcr(self, index: int) -> bytes:
        """Return the 48 bytes of one register, or raise NsmError."""

    @property
    def root(self) -> x509.Certificate:
        """The certificate under which documents of other modules of its kind are believed."""


class NitroSecurityModule:
    """The device of a real enclave. Its calls block for milliseconds."""

    platform = Platform.AWS_NITRO

    def __init__(self, device: str = DEVICE, *, ioctl: Ioctl = fcntl.ioctl) -> None:
        """Open a device, or take the open descriptor that `fd:NUMBER` names; raises NsmError."""
        self._ioctl = ioctl
        try:
            self._descriptor = _open(device)
        except OSError as error:
            raise _os_error(error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the device."""
        os.close(self._descriptor)

    def attest(
        self, user_data: bytes | None, public_key: bytes | None, nonce: bytes | None
    ) -> bytes:
        """Return a signed document (COSE_Sign1) that holds these three, or raise NsmError."""
        fields = check_sizes(user_data, public_key, nonce)
        return _bytes(self._ask("Attestation", {"Attestation": fields}), "document")

    def random(self, count: int) -> bytes:
        """Return `count` random bytes of the module's own."""
        gathered = bytearray()
        while len(gathered) < count:
            part = _bytes(self._ask("GetRandom", "GetRandom"), "random")
            if not 0 < len(part) <= MAX_RANDOM_BYTES:
                raise _unexpected()
            gathered += part
        return bytes(gathered[:count])

    def describe(self) -> Description:
        """Return what the module says of itself."""
        answer = self._ask("DescribeNSM", "DescribeNSM")
        match answer:
            case {
                "version_major": int(major),
                "version_minor": int(minor),
                "version_patch": int(patch),
                "module_id": str(module_id),
                "max_pcrs": int(max_pcrs),
                "locked_pcrs": list(locked),
                "digest": str(digest),
            }:
                pcrs = frozenset(index for index in locked if isinstance(index, int))
                return Description((major, minor, patch), module_id, max_pcrs, pcrs, digest)
        raise _unexpected()

    def describe_pcr(self, index: int) -> bytes:
        """Return the 48 bytes of one register, or raise NsmError."""
        value = _bytes(self._ask("DescribePCR", {"DescribePCR": {"index": index}}), "data")
        if len(value) != PCR_BYTES:
            raise _unexpected()
        return value

    @property
    def root(self) -> x509.Certificate:
        """AWS's, whatever the module says: it is pinned in the measured image."""
        return AWS_ROOT_G1

    def _ask(self, operation: str, request: object) -> Mapping[int | str, cbor.Value]:
        """Return the body of the answer to one request, or raise NsmError."""
        try:
            answer = cbor.decode(self._exchange(cbor2.dumps(request)))
        except MalformedMessage:
            raise _unexpected() from None
        match answer:
            case {"Error": str(code)}:
                raise NsmError(code, ERRORS.get(code, "it failed for an unknown reason"))
            case dict() if isinstance(body := answer.get(operation), dict):
                return body
        raise _unexpected()

    def _exchange(self, request: bytes) -> bytes:
        """Pass one request to the driver and return its answer."""
        sent = ctypes.create_string_buffer(request, len(request))
        received = ctypes.create_string_buffer(MAX_ANSWER_BYTES)
        addresses = ctypes.addressof(sent), ctypes.addressof(received)
        # Both buffers stay referenced by this frame for as long as the driver uses their addresses.
        vectors = addresses[0], len(request), addresses[1], MAX_ANSWER_BYTES
        argument = bytearray(struct.pack("@QQQQ", *vectors))
        try:
            self._ioctl(self._descriptor, IOCTL_RAW, argument, True)
        except OSError as error:
            raise _os_error(error) from None
        length: int = struct.unpack("@QQQQ", argument)[3]
        if length > MAX_ANSWER_BYTES:
            raise _unexpected()
        return received.raw[:length]


def _open(device: str) -> int:
    if not device.startswith(INHERITED):
        return os.open(device, os.O_RDWR)
    number = device.removeprefix(INHERITED)
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise NsmError("no descriptor", f"{device} names no open descriptor: write fd:NUMBER")
    # No program started later inherits it, least of all the embedded engine.
    os.set_inheritable(int(number), False)
    return int(number)


def check_sizes(
    user_data: bytes | None, public_key: bytes | None, nonce: bytes | None
) -> dict[str, bytes | None]:
    """Return the fields of an Attestation request; ValueError if the module would refuse a size."""
    fields = {"user_data": user_data, "nonce": nonce, "public_key": public_key}
    limits = MAX_USER_DATA_BYTES, MAX_NONCE_BYTES, MAX_PUBLIC_KEY_BYTES
    for (name, value), limit in zip(fields.items(), limits, strict=True):
        if value is not None and len(value) > limit:
            raise ValueError(f"{name} has {len(value)} bytes, more than {limit}")
    if public_key == b"":
        raise ValueError("an empty public_key")
    return fields


def _bytes(body: Mapping[int | str, cbor.Value], name: str) -> bytes:
    value = body.get(name)
    if not isinstance(value, bytes):
        raise _unexpected()
    return value


def _unexpected() -> NsmError:
    return NsmError("InvalidResponse", "its answer is not what the operation gives")


def _os_error(error: OSError) -> NsmError:
    number = error.errno or 0
    code = errno.errorcode.get(number, str(number))
    return NsmError(code, OS_ERRORS.get(number, "the driver failed"))
