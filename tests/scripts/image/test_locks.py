"""Locks of packages: what they pin, and what a damaged one is told."""

from pathlib import Path

import pytest

from scripts.image.locks import Lock, Package, PackageError, read_lock, write_lock

SHA256 = "0f" * 32
TAKEN = "20260102T030405Z"
BUSYBOX = Package(
    "busybox-static", "1:1.37.0-6+b9", SHA256, 955316, "pool/main/b/busybox/busybox_1.37.deb"
)
LIBC = Package("libc6", "2.41-12", SHA256, 2846580, "pool/updates/main/g/glibc/libc6_2.41.deb")


def test_a_lock_survives_rewriting(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text("# head\n")
    write_lock(path, Lock(TAKEN, (LIBC, BUSYBOX)))
    assert path.read_text().startswith("# head\n")
    assert read_lock(path) == Lock(TAKEN, (BUSYBOX, LIBC))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (BUSYBOX.line().replace(SHA256, SHA256[1:]), "line 2"),
        (BUSYBOX.line().replace(SHA256, SHA256.upper()), "line 2"),
        (BUSYBOX.line().replace("955316", "0"), "line 2: '0' is no size"),
        (BUSYBOX.line().replace("955316", "-1"), "line 2: '-1' is no size"),
        (BUSYBOX.line().replace("955316", "many"), "line 2: 'many' is no size"),
        (BUSYBOX.line().replace("pool/main", "pool/main/../.."), "line 2"),
        (BUSYBOX.line().replace("pool/main", "/etc"), "line 2"),
        (BUSYBOX.line().replace("pool/main", "http://elsewhere.invalid/pool/main"), "line 2"),
        (BUSYBOX.line() + " more", "line 2: not a name"),
        ("busybox-static 1.37 " + SHA256, "line 2: not a name"),
        (f"archive-of {TAKEN}", "line 2: not a name"),
        (f"{BUSYBOX.line()}\n{BUSYBOX.line()}", "twice"),
    ],
)
def test_a_damaged_lock_is_refused_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "some.lock"
    path.write_text(f"archive-of {TAKEN}\n{line}\n")
    with pytest.raises(PackageError, match=r"some\.lock") as caught:
        read_lock(path)
    assert said in str(caught.value)


@pytest.mark.parametrize("head", ["", "archive-of yesterday\n", "archive-of\n"])
def test_a_lock_says_when_the_archive_held_its_packages(tmp_path: Path, head: str) -> None:
    path = tmp_path / "some.lock"
    path.write_text(f"{head}{BUSYBOX.line()}\n")
    with pytest.raises(PackageError, match="archive-of"):
        read_lock(path)


def test_a_lock_that_lacks_what_is_needed_says_what() -> None:
    lock = Lock(TAKEN, (LIBC,))
    assert lock.only(["libc6"]) == [LIBC]
    with pytest.raises(PackageError, match="lacks busybox-static"):
        lock.only(["libc6", "busybox-static"])
