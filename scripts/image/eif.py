"""Enclave Image Format, version 4: write, read, sign and measure (aws-nitro-enclaves-image-format).

All numbers are big endian. A header (magic, version, flags, default memory and processors,
section count, 32 offsets, 32 sizes, CRC-32 of the file without this field) precedes the
sections (type, flags, size, content). The first ramdisk boots, the others are the application.
"""

from __future__ import annotations

import enum
import hashlib
import json
import ssl
import struct
import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from protocol import cbor
from protocol.errors import MalformedMessage

_HEADER = struct.Struct(">4sHHQQHH32Q32QII")
_SECTION = struct.Struct(">HHQ")
_CRC = struct.Struct(">I")
_MAGIC, _VERSION, _MOST_SECTIONS = b".eif", 4, 32
_DEFAULT_MEMORY, _DEFAULT_PROCESSORS = 512 << 20, 2  # nitro-cli takes both from its command line
_ES384 = cbor2.dumps({1: -35})  # RFC 9053: alg, ES384
_HALF = 48  # octets of r and of s


class EifError(Exception):
    """The file is not an enclave image that this reader understands."""


class Kind(enum.IntEnum):
    KERNEL = 1
    CMDLINE = 2
    RAMDISK = 3
    SIGNATURE = 4
    METADATA = 5


class Section(NamedTuple):
    kind: int
    content: bytes

    def encode(self) -> bytes:
        return _SECTION.pack(self.kind, 0, len(self.content)) + self.content


def encode(sections: Sequence[Section]) -> bytes:
    """Return the image that holds `sections`; equal sections make equal images."""
    offsets, position = [], _HEADER.size
    for section in sections:
        offsets.append(position)
        position += _SECTION.size + len(section.content)
    unused = [0] * (_MOST_SECTIONS - len(sections))
    sizes = [len(section.content) for section in sections]
    numbers = (_VERSION, 0, _DEFAULT_MEMORY, _DEFAULT_PROCESSORS, 0, len(sections))
    head = _HEADER.pack(_MAGIC, *numbers, *offsets, *unused, *sizes, *unused, 0, 0)[: -_CRC.size]
    body = b"".join(section.encode() for section in sections)
    return head + _CRC.pack(zlib.crc32(body, zlib.crc32(head))) + body


def decode(image: bytes) -> list[Section]:
    """Return the sections of `image`, or raise EifError."""
    if len(image) < _HEADER.size:
        raise EifError("too short for a header")
    magic, version, _, _, _, _, count, *tables, _, checksum = _HEADER.unpack_from(image)
    if magic != _MAGIC or version != _VERSION or count > _MOST_SECTIONS:
        raise EifError(f"not an enclave image of version {_VERSION}")
    head = image[: _HEADER.size - _CRC.size]
    if zlib.crc32(memoryview(image)[_HEADER.size :], zlib.crc32(head)) != checksum:
        raise EifError("the checksum differs")
    sections, position = [], _HEADER.size
    places = zip(tables[:count], tables[_MOST_SECTIONS : _MOST_SECTIONS + count], strict=True)
    for offset, size in places:
        if offset != position:  # AWS's reader goes by the order in the file, others by the table
            raise EifError("the table and the order of the sections disagree")
        sections.append(_read_section(image, offset, size))
        position += _SECTION.size + size
    if position != len(image):
        raise EifError("there is more in the file than its sections")
    return sections


def _read_section(image: bytes, offset: int, expected: int) -> Section:
    if offset + _SECTION.size > len(image):
        raise EifError("a section lies outside the file")
    kind, _, size = _SECTION.unpack_from(image, offset)
    start = offset + _SECTION.size
    content = image[start : start + size]
    if size != expected or len(content) != size:
        raise EifError("the table and a section disagree")
    return Section(kind, content)


def measure(sections: Sequence[Section]) -> dict[str, str]:
    """Return the registers that an enclave of `sections` starts with: name to hexadecimal."""
    ramdisks = [content for kind, content in sections if kind == Kind.RAMDISK]
    start = [content for kind, content in sections if kind in (Kind.KERNEL, Kind.CMDLINE)]
    pcrs = {
        "PCR0": _extended(start + ramdisks),
        "PCR1": _extended(start + ramdisks[:1]),
        "PCR2": _extended(ramdisks[1:]),
    }
    for kind, content in sections:
        if kind == Kind.SIGNATURE:
            pcrs["PCR8"] = _extended([_signing_certificate(content)])
    return pcrs


def nitro_cli_json(pcrs: dict[str, str]) -> str:
    """Return `pcrs` as `nitro-cli build-enclave` prints them."""
    return json.dumps({"Measurements": {"HashAlgorithm": "Sha384 { ... }", **pcrs}}, indent=2)


def signature_section(pcr0: str, key_pem: bytes, certificate_pem: bytes) -> Section:
    """Return the section in which a P-384 key vouches for PCR0, or raise EifError."""
    key = load_pem_private_key(key_pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp384r1":
        raise EifError("the signing key is not a P-384 key")
    if x509.load_pem_x509_certificate(certificate_pem).public_key() != key.public_key():
        raise EifError("the signing certificate belongs to another key")
    # the format's own types: octets are written as arrays of numbers
    register = {"register_index": 0, "register_value": list(bytes.fromhex(pcr0))}
    payload = cbor2.dumps(register)
    message = cbor2.dumps(["Signature1", _ES384, b"", payload])
    r, s = utils.decode_dss_signature(key.sign(message, ec.ECDSA(SHA384())))
    signed = cbor2.dumps([_ES384, {}, payload, r.to_bytes(_HALF) + s.to_bytes(_HALF)])
    entry = {"signing_certificate": list(certificate_pem), "signature": list(signed)}
    return Section(Kind.SIGNATURE, cbor2.dumps([entry]))


def check_certificate(certificate_pem: bytes, now: datetime) -> timedelta:
    """Return how long a signing certificate is valid after `now`, or raise EifError."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError as error:
        raise EifError("the signing certificate is not one in PEM") from error
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        raise EifError(f"the signing certificate is not valid before {begins:%Y-%m-%d %H:%M} UTC")
    if now >= ends:
        raise EifError(
            f"the signing certificate expired at {ends:%Y-%m-%d %H:%M} UTC: an enclave of an image "
            "that it signs would not start"
        )
    return ends - now


def metadata_section(name: str, version: str, kernel: str) -> Section:
    """Return the section that describes the image; it is not measured, so it says little.

    AWS's reader takes it with these five members only, and reads it whenever it lists enclaves.
    """
    build: dict[str, Any] = {
        "BuildTime": "1970-01-01T00:00:00+00:00",  # a real one would make two builds differ
        "BuildTool": "oblivious-inference",
        "BuildToolVersion": version,
        "OperatingSystem": "Linux",
        "KernelVersion": kernel,
    }
    described = {
        "ImageName": name,
        "ImageVersion": version,
        "BuildMetadata": build,
        "DockerInfo": {},
        "CustomMetadata": {},
    }
    return Section(Kind.METADATA, json.dumps(described).encode())


def _signing_certificate(content: bytes) -> bytes:
    try:
        match cbor.decode(content):
            case [{"signing_certificate": list(octets)}, *_]:
                return ssl.PEM_cert_to_DER_cert(bytes(map(_octet, octets)).decode())
    except (MalformedMessage, ValueError) as error:
        raise EifError("the signature section holds no certificate") from error
    raise EifError("the signature section holds no certificate")


def _octet(value: cbor.Value) -> int:
    if not isinstance(value, int):
        raise MalformedMessage("not an octet")
    return value


def _extended(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha384()
    for part in parts:
        digest.update(part)
    return hashlib.sha384(bytes(_HALF) + digest.digest()).hexdigest()
