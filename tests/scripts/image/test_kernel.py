"""The kernel of an image is the recorded one, wherever its bytes come from."""

from pathlib import Path

import pytest

from scripts.image import kernel, kernel_build
from scripts.image.kernel_build import KernelError, Say
from scripts.image.locks import Lock, read_lock
from scripts.image.pool import Pool, Sources

IMAGE = b"a kernel"


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "kernel.sha256"
    path.write_text(f"{kernel.digest(IMAGE)}  bzImage\n")
    monkeypatch.setattr(kernel, "RECORD", path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def provide(given: Path | None, tmp_path: Path) -> bytes:
    pool = Pool(tmp_path / "apt", Sources(snapshot=None))
    return kernel.provide(given, pool, tmp_path, lambda _: None).image


def never(lock: Lock, pool: Pool, work: Path, say: Say) -> bytes:
    raise KernelError("built")


def test_a_given_kernel_is_used_if_it_is_the_recorded_one(tmp_path: Path) -> None:
    (tmp_path / "bzImage").write_bytes(IMAGE)
    assert provide(tmp_path / "bzImage", tmp_path) == IMAGE
    (tmp_path / "bzImage").write_bytes(b"another")
    with pytest.raises(KernelError, match=r"bzImage is not the kernel of kernel\.sha256"):
        provide(tmp_path / "bzImage", tmp_path)


def test_a_built_kernel_is_kept_outside_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "build", lambda *_: IMAGE)
    assert provide(None, tmp_path) == IMAGE
    kept = tmp_path / "cache/oblivious-inference" / f"kernel-{kernel.digest(IMAGE)}"
    assert kept.read_bytes() == IMAGE
    monkeypatch.setattr(kernel, "build", never)
    assert provide(None, tmp_path) == IMAGE


def test_a_damaged_cache_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = kernel.cache() / f"kernel-{kernel.digest(IMAGE)}"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"another")
    monkeypatch.setattr(kernel, "build", never)
    with pytest.raises(KernelError, match="built"):
        provide(None, tmp_path)
    monkeypatch.setattr(kernel, "build", lambda *_: IMAGE)
    assert provide(None, tmp_path) == kept.read_bytes() == IMAGE


def test_a_build_with_another_result_is_refused_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "build", lambda *_: b"another")
    with pytest.raises(KernelError, match="what was built is not the kernel"):
        provide(None, tmp_path)
    assert not list(kernel.cache().glob("kernel-*"))


@pytest.mark.parametrize("text", ["", "00  bzImage\n", f"{'0' * 64}\n", f"{'0' * 64}  vmlinux\n"])
def test_a_record_that_is_none_is_refused(record: Path, text: str) -> None:
    record.write_text(text)
    with pytest.raises(KernelError, match="is not one line"):
        kernel.recorded()


def test_a_new_kernel_is_recorded_as_sha256sum_would(record: Path) -> None:
    kernel.record(b"another")
    assert record.read_text() == f"{kernel.digest(b'another')}  bzImage\n"
    assert kernel.checked(b"another", "this") == b"another"


def test_what_a_killed_build_left_is_removed_and_what_goes_on_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, other = tmp_path / "kernel-build-left", tmp_path / "kernel-build-other"
    (left / "tools").mkdir(parents=True)
    other.mkdir()

    def build(files: object, configuration: Path, place: Path, *_: object) -> Path:
        assert sorted(each.name for each in tmp_path.glob("kernel-*")) == sorted(
            [place.name, other.name]
        )
        (place / "bzImage").write_bytes(IMAGE)
        return place / "bzImage"

    monkeypatch.setattr(kernel_build, "build", build)
    pool = Pool(tmp_path / "apt", Sources(snapshot=None))
    monkeypatch.setattr(pool, "fetch_all", lambda lock: {})
    with kernel._held(other):
        assert kernel.build(read_lock(kernel.LOCK), pool, tmp_path, lambda _: None) == IMAGE
    assert [each.name for each in tmp_path.glob("kernel-*")] == [other.name]
