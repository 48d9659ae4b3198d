"""The image format: sections, measurements, signatures, and what is refused."""

import datetime
import hashlib
import json
import struct
import zlib

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scripts.image import eif
from scripts.image.eif import EifError, Kind, Section

SECTIONS = [
    Section(Kind.KERNEL, b"kernel"),
    Section(Kind.CMDLINE, b"reboot=k"),
    Section(Kind.METADATA, b"{}"),
    Section(Kind.RAMDISK, b"boot"),
    Section(Kind.RAMDISK, b"application"),
]


def extended(data: bytes) -> str:
    """PCR value after one extension of a zero register, computed the long way."""
    return hashlib.sha384(b"\0" * 48 + hashlib.sha384(data).digest()).hexdigest()


def signer() -> tuple[ec.EllipticCurvePrivateKey, bytes, bytes, bytes]:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), 1, day, day + datetime.timedelta(days=1)
    ).sign(key, SHA384())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = certificate.public_bytes(Encoding.PEM), certificate.public_bytes(Encoding.DER)
    return key, pem, *public


def test_decoding_an_image_gives_back_its_sections() -> None:
    assert eif.decode(eif.encode(SECTIONS)) == SECTIONS


def test_each_register_measures_its_own_sections() -> None:
    assert eif.measure(SECTIONS) == {
        "PCR0": extended(b"kernelreboot=kbootapplication"),
        "PCR1": extended(b"kernelreboot=kboot"),
        "PCR2": extended(b"application"),
    }


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x81" * 2000,
        *map(
            cbor2.dumps,
            [
                [],
                [{}],
                {0: {"signing_certificate": [1]}},
                [{"signing_certificate": 10**12}],
                [{"signing_certificate": b"text"}],
                [{"signing_certificate": [256]}],
                [{"signing_certificate": [None]}],
                [{"signing_certificate": [0xFF]}],
                [{"signing_certificate": list(b"no certificate")}],
            ],
        ),
    ],
)
def test_a_signature_section_without_a_certificate_is_refused(content: bytes) -> None:
    with pytest.raises(EifError, match="holds no certificate"):
        eif.measure([*SECTIONS, Section(Kind.SIGNATURE, content)])


def test_metadata_is_not_measured() -> None:
    other = [s if s.kind != Kind.METADATA else Section(Kind.METADATA, b"other") for s in SECTIONS]
    assert eif.measure(other) == eif.measure(SECTIONS)


@pytest.mark.parametrize("kind", [Kind.KERNEL, Kind.CMDLINE, Kind.RAMDISK])
def test_a_change_to_a_measured_section_changes_pcr0(kind: Kind) -> None:
    other = [Section(s.kind, s.content + b"!") if s.kind == kind else s for s in SECTIONS]
    assert eif.measure(other)["PCR0"] != eif.measure(SECTIONS)["PCR0"]


def test_a_signature_vouches_for_pcr0_and_adds_pcr8() -> None:
    key, pem, certificate, der = signer()
    section = eif.signature_section(eif.measure(SECTIONS)["PCR0"], pem, certificate)
    measured = eif.measure([*SECTIONS, section])
    assert measured["PCR8"] == extended(der)
    protected, _, payload, signature = cbor2.loads(
        bytes(cbor2.loads(section.content)[0]["signature"])
    )
    assert bytes(cbor2.loads(payload)["register_value"]).hex() == measured["PCR0"]
    r, s = int.from_bytes(signature[:48]), int.from_bytes(signature[48:])
    message = cbor2.dumps(["Signature1", protected, b"", payload])
    key.public_key().verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(SHA384()))


def test_another_keys_certificate_is_refused() -> None:
    _, pem, _, _ = signer()
    _, _, certificate, _ = signer()
    with pytest.raises(EifError):
        eif.signature_section("00" * 48, pem, certificate)


@pytest.mark.parametrize("position", [0, 5, 40, -1])
def test_an_altered_image_is_refused(position: int) -> None:
    image = bytearray(eif.encode(SECTIONS))
    image[position] ^= 1
    with pytest.raises(EifError):
        eif.decode(bytes(image))


@pytest.mark.parametrize("size", [0, 3, 547, 600])
def test_a_truncated_image_is_refused(size: int) -> None:
    with pytest.raises(EifError):
        eif.decode(eif.encode(SECTIONS)[:size])


def test_measurements_have_the_form_of_nitro_cli() -> None:
    printed = json.loads(eif.nitro_cli_json(eif.measure(SECTIONS)))
    assert set(printed["Measurements"]) == {"HashAlgorithm", "PCR0", "PCR1", "PCR2"}


def with_table(change: str) -> bytes:
    """Return an image whose table of offsets differs from the order of its sections."""
    image = bytearray(eif.encode(SECTIONS))
    head = struct.calcsize(">4sHHQQHH")
    offsets = list(struct.unpack_from(">32Q", image, head))
    if change == "swapped":
        offsets[3], offsets[4] = offsets[4], offsets[3]
    else:
        offsets[1] = offsets[0]
    struct.pack_into(">32Q", image, head, *offsets)
    return with_checksum(bytes(image))


def with_checksum(image: bytes) -> bytes:
    size = struct.calcsize(">4sHHQQHH32Q32QI")
    body = image[size + 4 :]
    return image[:size] + struct.pack(">I", zlib.crc32(body, zlib.crc32(image[:size]))) + body


def test_an_image_that_two_readers_would_read_differently_is_refused() -> None:
    image = eif.encode(SECTIONS)
    assert eif.decode(with_checksum(image)) == SECTIONS
    for change in ("swapped", "twice"):
        with pytest.raises(EifError, match="the order of the sections"):
            eif.decode(with_table(change))
    with pytest.raises(EifError, match="more in the file"):
        eif.decode(with_checksum(image + Section(Kind.RAMDISK, b"more").encode()))


def test_metadata_has_the_members_that_aws_reader_demands() -> None:
    section = eif.metadata_section("image", "1", "6.12")
    described = json.loads(section.content)
    assert set(described) == {
        "ImageName",
        "ImageVersion",
        "BuildMetadata",
        "DockerInfo",
        "CustomMetadata",
    }
    assert described["BuildMetadata"]["KernelVersion"] == "6.12"


def test_an_expired_certificate_signs_nothing() -> None:
    _, _, certificate, _ = signer()  # valid on 1 January 2026
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    hour = datetime.timedelta(hours=1)
    assert eif.check_certificate(certificate, day) == 24 * hour
    assert eif.check_certificate(certificate, day + 23 * hour) == hour
    for late in (day + 24 * hour, day + 1000 * hour):
        with pytest.raises(EifError, match="expired at 2026-01-02 00:00 UTC"):
            eif.check_certificate(certificate, late)
    with pytest.raises(EifError, match="not valid before 2026-01-01"):
        eif.check_certificate(certificate, day - hour)
    with pytest.raises(EifError, match="not one in PEM"):
        eif.check_certificate(b"nonsense", day)
