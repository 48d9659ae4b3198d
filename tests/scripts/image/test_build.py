"""The command that builds: what it refuses before it begins, and what it warns of."""

import datetime
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scripts.image import build, checkout, kernel, recipe
from scripts.image.kernel_build import KernelError
from scripts.image.locks import Lock
from scripts.image.recipe import Say

DAY = datetime.timedelta(days=1)


@pytest.fixture(autouse=True)
def as_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkout, "refuse_changes", lambda: None)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["build-eif", *map(str, arguments)])
    return build.main()


def signer(directory: Path, begins: datetime.timedelta, ends: datetime.timedelta) -> list[Path]:
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now + begins, now + ends
    ).sign(key, SHA384())
    files = [directory / "key.pem", directory / "certificate.pem"]
    files[0].write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    files[1].write_bytes(certificate.public_bytes(Encoding.PEM))
    return files


def test_another_kernel_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bzImage").write_bytes(b"another")
    work = tmp_path / "work"
    assert run(monkeypatch, "--kernel", tmp_path / "bzImage", "--work", work) == 1
    assert f"{tmp_path / 'bzImage'} is not the kernel of kernel.sha256" in capsys.readouterr().err
    assert not work.exists()


def test_packages_that_are_nowhere_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--packages", tmp_path / "absent", "--work", tmp_path) == 1
    assert f"{tmp_path / 'absent'} is no directory" in capsys.readouterr().err


def test_an_expired_certificate_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = signer(tmp_path, -2 * DAY, -DAY)
    assert run(monkeypatch, "--sign", *files, "--work", tmp_path / "work") == 1
    assert "build-eif: the signing certificate expired at" in capsys.readouterr().err


@pytest.mark.parametrize(("days", "warned"), [(89.5, True), (90.5, False)])
def test_a_certificate_that_ends_soon_is_warned_of(
    tmp_path: Path, days: float, warned: bool
) -> None:
    said: list[str] = []
    build.check_signer(signer(tmp_path, -DAY, days * DAY), said.append)
    assert bool(said) is warned
    assert not warned or "expires in 89 days" in said[0]


def test_a_tree_with_changes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise checkout.CheckoutError("protocol/new.py: not as committed")

    monkeypatch.setattr(checkout, "refuse_changes", refuse)
    assert run(monkeypatch, "--work", tmp_path / "work") == 1
    assert capsys.readouterr().err == "build-eif: protocol/new.py: not as committed\n"


def test_a_change_that_is_made_while_it_builds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def refuse_later() -> None:
        asked.append("now")
        if len(asked) > 1:
            raise checkout.CheckoutError("protocol/new.py: not as committed")

    monkeypatch.setattr(checkout, "refuse_changes", refuse_later)
    monkeypatch.setattr(recipe, "build", lambda *_: [])
    out = tmp_path / "image.eif"
    assert run(monkeypatch, "--work", tmp_path / "work", "--out", out) == 1
    assert capsys.readouterr().err == "build-eif: protocol/new.py: not as committed\n"
    assert not out.exists()


def test_an_image_that_could_not_be_written_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--out", tmp_path / "missing" / "image.eif") == 1
    assert f"{tmp_path / 'missing'} is no directory" in capsys.readouterr().err


def test_a_new_lock_and_a_new_kernel_are_two_decisions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(monkeypatch, "--update-lock", "--update-kernel")
    assert caught.value.code == 2
    made: list[str] = []

    def update_lock(work: Path, say: Say) -> None:
        made.append("lock")

    def update_kernel(work: Path, say: Say) -> None:
        made.append("kernel")

    monkeypatch.setattr(build, "update_lock", update_lock)
    monkeypatch.setattr(build, "update_kernel", update_kernel)
    assert run(monkeypatch, "--update-lock", "--work", tmp_path) == 0
    assert run(monkeypatch, "--update-kernel", "--work", tmp_path) == 0
    assert made == ["lock", "kernel"]


def test_a_kernel_that_cannot_be_built_leaves_lock_and_record_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {name: tmp_path / name for name in ("LOCK", "RECORD")}
    for name, file in files.items():
        file.write_bytes(getattr(kernel, name).read_bytes())
        monkeypatch.setattr(kernel, name, file)
    before = [file.read_bytes() for file in files.values()]

    def fail(*_: object) -> bytes:
        raise KernelError("does not build")

    monkeypatch.setattr(recipe, "current_lock", lambda *_: Lock("20260102T030405Z", ()))
    monkeypatch.setattr(kernel, "build", fail)
    assert run(monkeypatch, "--update-kernel", "--work", tmp_path) == 1
    assert [file.read_bytes() for file in files.values()] == before
    monkeypatch.setattr(kernel, "build", lambda *_: b"another")
    assert run(monkeypatch, "--update-kernel", "--work", tmp_path) == 0
    assert kernel.recorded() == kernel.digest(b"another")
