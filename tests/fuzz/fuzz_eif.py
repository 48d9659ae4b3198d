"""Enclave images: sections are read as written; a wrong image is an error of ours."""

import struct
import zlib

import cbor2

from scripts.image import eif
from scripts.image.eif import EifError, Kind, Section
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Refused
from tests.scripts.image.test_eif import SECTIONS, signer

CHECKSUM = eif._HEADER.size - eif._CRC.size
attempt = Attempt(EifError)

FAULTS = (
    slips("scripts.image.eif._read_section", EifError),
    slips("scripts.image.eif._signing_certificate", EifError),
    returns("scripts.image.eif.encode", lambda image: image + b"\0"),
    returns("scripts.image.eif._read_section", lambda s: Section(s.kind, s.content[:-1])),
)


def seeds() -> list[bytes]:
    """Return images, signed and not, and signature sections that hold no certificate."""
    _, pem, certificate, _ = signer()
    signed = eif.signature_section("00" * 48, pem, certificate)
    wrong = [
        cbor2.dumps(each)
        for each in (
            [{"signing_certificate": 10**12}],
            [{"signing_certificate": [256]}],
            [{"signing_certificate": "text"}],
            {0: {"signing_certificate": b""}},
            [],
        )
    ]
    odd = [Section(Kind.SIGNATURE, content) for content in (*wrong, b"\x81" * 2000, b"")]
    images = [SECTIONS, [*SECTIONS, signed], [], *([each] for each in odd)]
    return [eif.encode(sections) for sections in images]


def run(data: bytes) -> None:
    """Read an image as it is, and with the checksum that it should have."""
    _check(data)
    if len(data) >= eif._HEADER.size:
        body = data[eif._HEADER.size :]
        checksum = zlib.crc32(body, zlib.crc32(data[:CHECKSUM]))
        _check(data[:CHECKSUM] + struct.pack(">I", checksum) + body)


def _check(image: bytes) -> None:
    sections = attempt(eif.decode, image)
    if isinstance(sections, Refused):
        return
    assert sum(len(section.content) for section in sections) < len(image)
    again = eif.decode(eif.encode(sections))
    assert again == sections
    measured = attempt(eif.measure, sections)
    assert isinstance(measured, Refused) or {"PCR0", "PCR1", "PCR2"} <= measured.keys()
    assert not isinstance(measured, Refused) or any(s.kind == Kind.SIGNATURE for s in sections)
