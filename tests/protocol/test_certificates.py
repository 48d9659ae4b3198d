"""Certificate paths by themselves: from the pinned root to the leaf, one issuer after the other."""

from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from protocol.certificates import (
    AWS_ROOT_G1,
    MAX_PATH_CERTIFICATES,
    load_certificate,
    load_root,
    public_key,
    verify_path,
)
from protocol.errors import AttestationError, AttestationReason, AttestationStep
from tests.support.attestation_samples import NOW, changed_path, path_der, rsa_key, usage

ROOT = load_root(path_der()[0])


def reason(path: tuple[bytes, ...]) -> AttestationReason:
    with pytest.raises(AttestationError) as caught:
        verify_path(path, ROOT, NOW)
    assert caught.value.step is AttestationStep.CHAIN
    return caught.value.reason


def test_a_good_path() -> None:
    verify_path(path_der(), ROOT, NOW)


def test_the_root_of_aws() -> None:
    fingerprint = AWS_ROOT_G1.fingerprint(SHA256()).hex()
    assert fingerprint == "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
    assert AWS_ROOT_G1.not_valid_after_utc.year == 2049


@pytest.mark.parametrize("place", range(4))
def test_no_certificate_can_be_left_out_or_come_twice(place: int) -> None:
    path = path_der()
    assert reason(path[:place] + path[place + 1 :]) is AttestationReason.CHAIN
    assert reason(path[: place + 1] + path[place:]) is AttestationReason.CHAIN


def test_a_path_has_a_limit() -> None:
    root, *rest = path_der()
    others = tuple(changed_path("zone", start=NOW - timedelta(minutes=n))[2] for n in range(1, 9))
    assert len((root, *others, *rest)) > MAX_PATH_CERTIFICATES
    assert reason((root, *others, *rest)) is AttestationReason.CHAIN


@pytest.mark.parametrize("at", ["root", "region", "zone", "leaf"])
def test_each_certificate_ends(at: str) -> None:
    path = changed_path(at, end=NOW - timedelta(seconds=1))
    with pytest.raises(AttestationError) as caught:
        verify_path(path, load_root(path[0]), NOW)
    assert caught.value.reason is AttestationReason.EXPIRED


@pytest.mark.parametrize("at", ["region", "zone"])
@pytest.mark.parametrize(
    "change", [{"ca": False, "path_length": None}, {"ca": None}, {"usage": None}]
)
def test_only_authorities_issue(at: str, change: dict[str, bool | None]) -> None:
    assert reason(changed_path(at, **change)) is AttestationReason.CHAIN


def test_a_leaf_signs_documents_and_no_certificates() -> None:
    assert reason(changed_path("leaf", ca=True)) is AttestationReason.CHAIN
    assert reason(changed_path("leaf", usage=usage("key_cert_sign"))) is AttestationReason.CHAIN


def test_keys_are_on_p384() -> None:
    for key in (rsa_key("leaf"), ec.generate_private_key(ec.SECP256R1())):
        certificate = load_certificate(changed_path("leaf", key=key)[-1])
        with pytest.raises(AttestationError, match="P-384"):
            public_key(certificate)


@pytest.mark.parametrize("at", ["region", "zone", "leaf"])
def test_every_authority_signs_with_a_key_on_p384(at: str) -> None:
    path = changed_path(at, key=ec.generate_private_key(ec.SECP256R1()))
    if at == "leaf":  # whose key is looked at where it is used
        verify_path(path, load_root(path[0]), NOW)
        return
    with pytest.raises(AttestationError, match="P-384"):
        verify_path(path, load_root(path[0]), NOW)


@pytest.mark.parametrize("der", [b"", b"0", b"garbage", path_der()[0][:-1]])
def test_what_is_no_certificate(der: bytes) -> None:
    with pytest.raises(AttestationError):
        load_certificate(der)
    with pytest.raises(ValueError, match=r".*"):
        load_root(der)  # the caller's own mistake
