"""Certificate paths: what leads from the root to the leaf, and each thing that breaks it."""

import warnings
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from protocol.certificates import (
    AWS_ROOT_G1,
    MAX_PATH_CERTIFICATES,
    load_certificate,
    load_root,
    public_key,
    verify_path,
)
from protocol.errors import AttestationError, AttestationReason, AttestationStep
from tests.support.attestation_samples import (
    NOW,
    Certificate,
    changed_path,
    key,
    path_der,
    root,
    rsa_key,
    usage,
)

SECOND = timedelta(seconds=1)


def refused(path: tuple[bytes, ...], moment: datetime = NOW) -> AttestationReason:
    with pytest.raises(AttestationError) as caught:
        verify_path(path, load_root(path_der()[0]), moment)
    assert caught.value.step is AttestationStep.CHAIN
    return caught.value.reason


def test_a_good_path_is_accepted() -> None:
    verify_path(path_der(), load_root(root()), NOW)


def test_the_root_of_aws_is_the_one_that_aws_publishes() -> None:
    fingerprint = AWS_ROOT_G1.fingerprint(SHA256()).hex()
    assert fingerprint == "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
    assert public_key(AWS_ROOT_G1).curve.name == "secp384r1"


def test_a_root_may_be_given_in_three_ways() -> None:
    certificate = load_certificate(root())
    pem = certificate.public_bytes(Encoding.PEM)
    for given in (certificate, root(), pem, b"\n " + pem):
        assert load_root(given) == certificate


def test_what_is_no_certificate() -> None:
    for data in (b"", b"\x30", root()[:-1], root() + b"\0"):
        with pytest.raises(AttestationError) as caught:
            load_certificate(data)
        assert caught.value.reason is AttestationReason.CHAIN


def test_a_key_is_on_p384() -> None:
    good = Certificate("a", "a", key("a"), key("a"))
    assert public_key(load_certificate(good.der())).curve.name == "secp384r1"
    for other in (ec.generate_private_key(ec.SECP256R1()), rsa_key("a")):
        wrong = Certificate("a", "a", other, key("a"))
        with pytest.raises(AttestationError):
            public_key(load_certificate(wrong.der()))


def test_the_path_begins_at_the_root_that_is_trusted() -> None:
    assert refused(path_der()[1:]) is AttestationReason.CHAIN
    again = Certificate("root", "root", key("root"), key("root")).der()  # of the same key
    assert refused((again, *path_der()[1:])) is AttestationReason.CHAIN


def test_no_certificate_comes_twice() -> None:
    top, region, zone, leaf = path_der()
    assert refused((top, region, region, zone, leaf)) is AttestationReason.CHAIN


def long_path(authorities: int) -> tuple[bytes, ...]:
    names = ["root", *(f"authority {number}" for number in range(authorities)), "end"]
    path = [path_der()[0]]
    for issuer, subject in pairwise(names):
        last = subject == "end"
        made = Certificate(
            subject,
            issuer,
            key(subject),
            key(issuer),
            ca=not last,
            usage=usage("digital_signature" if last else "key_cert_sign"),
        )
        path.append(made.der())
    return tuple(path)


def test_a_path_has_a_greatest_length() -> None:
    verify_path(long_path(MAX_PATH_CERTIFICATES - 2), load_root(root()), NOW)
    assert refused(long_path(MAX_PATH_CERTIFICATES - 1)) is AttestationReason.CHAIN


@pytest.mark.parametrize("place", ["region", "zone", "leaf"])
def test_every_certificate_is_valid_at_the_moment(place: str) -> None:
    path = changed_path(place, start=NOW, end=NOW + SECOND)
    for moment in (NOW, NOW + SECOND):
        verify_path(path, load_root(root()), moment)
    for moment in (NOW - SECOND, NOW + 2 * SECOND):
        assert refused(path, moment) is AttestationReason.EXPIRED


def test_a_moment_in_another_zone_is_the_same() -> None:
    verify_path(path_der(), load_root(root()), NOW.astimezone(tz=None))
    assert NOW.tzinfo is UTC


@pytest.mark.parametrize("place", ["region", "zone"])
@pytest.mark.parametrize(
    "changes",
    [
        {"ca": False, "path_length": None},
        {"ca": None},
        {"usage": None},
        {"usage": usage("digital_signature")},
        {"digest": SHA256()},
        {"issuer": "another"},
        {"signer": key("another")},
        {"key": key("another")},
        {"more": [(x509.InhibitAnyPolicy(1), True)]},
    ],
)
def test_an_authority_that_is_not_right(place: str, changes: dict[str, object]) -> None:
    assert refused(changed_path(place, **changes)) is AttestationReason.CHAIN


@pytest.mark.parametrize(
    "changes",
    [
        {"ca": True},
        {"usage": None},
        {"usage": usage("key_cert_sign")},
        {"digest": SHA256()},
        {"issuer": "region"},
        {"signer": key("region")},
        {"more": [(x509.InhibitAnyPolicy(1), True)]},
    ],
)
def test_a_leaf_that_is_not_right(changes: dict[str, object]) -> None:
    assert refused(changed_path("leaf", **changes)) is AttestationReason.CHAIN


@pytest.mark.parametrize(
    ("place", "changes", "words"),
    [
        ("region", {"ca": None}, "not a certificate authority"),
        ("region", {"path_length": 0}, "more authorities than a path length"),
        ("region", {"usage": None}, "may not sign certificates"),
        ("region", {"digest": SHA256()}, "not signed by ECDSA with SHA-384"),
        ("region", {"issuer": "another"}, "names another issuer"),
        ("region", {"signer": key("another")}, "signature does not verify"),
        ("region", {"more": [(x509.InhibitAnyPolicy(1), True)]}, "unknown critical extension"),
        ("leaf", {"ca": True}, "by a certificate authority itself"),
        ("leaf", {"usage": None}, "may not sign documents"),
    ],
)
def test_what_is_not_right_is_said(place: str, changes: dict[str, object], words: str) -> None:
    with pytest.raises(AttestationError, match=words):
        verify_path(changed_path(place, **changes), load_root(root()), NOW)


def test_what_may_be_otherwise() -> None:
    for path in (
        changed_path("leaf", ca=None),
        changed_path("leaf", more=[(x509.InhibitAnyPolicy(1), False)]),
        changed_path("region", path_length=None),
    ):
        verify_path(path, load_root(root()), NOW)


@pytest.mark.parametrize(("length", "good"), [(0, False), (1, True), (None, True)])
def test_a_path_length_counts_the_authorities_below(length: int | None, good: bool) -> None:
    path = changed_path("region", path_length=length)
    if good:
        verify_path(path, load_root(root()), NOW)
    else:
        assert refused(path) is AttestationReason.CHAIN


def test_a_warning_about_an_encoding_is_a_refusal() -> None:
    # A negative serial number, which cryptography reads with a warning.
    der = bytearray(path_der()[-1])
    at = der.index(b"\x02\x14") + 2  # INTEGER of 20 octets: the serial number
    der[at] = 0x81
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refused((*path_der()[:-1], bytes(der))) is AttestationReason.CHAIN
