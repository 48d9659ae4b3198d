"""Pinned packages come from any pool that still has them, and from no index."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from scripts.image import pool as pools
from scripts.image.bundle import write as write_bundle
from scripts.image.locks import Lock, Package, PackageError
from scripts.image.pool import Pool, Sources

TAKEN = "20260102T030405Z"
CONTENT = b"pinned"
PATH = "pool/main/b/busybox/busybox-static_1_amd64.deb"
PACKAGE = Package("busybox-static", "1", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), PATH)
UPDATE = replace(PACKAGE, path=PATH.replace("pool/", "pool/updates/"))


class Mirror(BaseHTTPRequestHandler):
    """Serves `files` by path, and writes down what was asked for."""

    def __init__(self, files: dict[str, bytes], asked: list[str], *rest: object) -> None:
        self.files, self.asked = files, asked
        super().__init__(*rest)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        content = self.files.get(self.path)
        if content is None:
            self.send_error(404)
        elif content:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class Served:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, self.files, self.asked))
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def sources(self) -> Sources:
        return Sources(mirrors=(f"{self.base}/debian",), snapshot=f"{self.base}/archive")


@pytest.fixture
def served() -> Iterator[Served]:
    mirror = Served()
    yield mirror
    mirror.server.shutdown()
    mirror.server.server_close()


@pytest.mark.parametrize(
    ("package", "place"),
    [
        (PACKAGE, f"/debian/{PATH}"),
        (PACKAGE, f"/debian-security/{UPDATE.path}"),
        (PACKAGE, f"/archive/debian/{TAKEN}/{PATH}"),
        (UPDATE, f"/debian/{PATH}"),
        (UPDATE, f"/debian-security/{UPDATE.path}"),
        (UPDATE, f"/archive/debian-security/{TAKEN}/{UPDATE.path}"),
    ],
)
def test_a_package_that_no_index_names_is_found_in_every_pool(
    tmp_path: Path, served: Served, package: Package, place: str
) -> None:
    served.files[place] = CONTENT
    fetched = Pool(tmp_path, served.sources).fetch(package, TAKEN)
    assert fetched.read_bytes() == CONTENT
    assert all(path.endswith(".deb") for path in served.asked)  # no index was asked for
    assert served.asked[0] == ("/debian-security/" if package is UPDATE else "/debian/") + (
        package.path
    )


def test_a_package_is_fetched_once(tmp_path: Path, served: Served) -> None:
    served.files[f"/debian/{PATH}"] = CONTENT
    for _ in range(2):
        assert Pool(tmp_path, served.sources).fetch(PACKAGE, TAKEN).read_bytes() == CONTENT
    assert served.asked == [f"/debian/{PATH}"]


@pytest.mark.parametrize("wrong", [b"others", b"pinned, and more", b"pin"])
def test_a_pool_with_other_bytes_is_passed_over(
    tmp_path: Path, served: Served, wrong: bytes
) -> None:
    served.files[f"/debian/{PATH}"] = wrong
    served.files[f"/archive/debian/{TAKEN}/{PATH}"] = CONTENT
    assert Pool(tmp_path, served.sources).fetch(PACKAGE, TAKEN).read_bytes() == CONTENT


def test_what_no_source_has_is_told_source_by_source(tmp_path: Path, served: Served) -> None:
    served.files[f"/debian/{PATH}"] = b"others"
    served.files[f"/debian-security/{UPDATE.path}"] = b""  # closes without a word
    with pytest.raises(PackageError) as caught:
        Pool(tmp_path, served.sources).fetch(PACKAGE, TAKEN)
    head, first, second, third, advice = str(caught.value).splitlines()
    assert head == "busybox-static 1 cannot be had:"
    assert first == f"  {served.base}/debian/{PATH}: another file than the one that is pinned"
    assert f"{served.base}/debian-security/{UPDATE.path}: " in second
    assert third.endswith(": 404  Not Found")
    assert "--packages" in advice
    assert not list(tmp_path.glob("locked/busybox*"))  # nothing half-fetched stays


@pytest.mark.parametrize(
    "wrong",
    [
        replace(PACKAGE, size=len(CONTENT) + 1),
        replace(PACKAGE, size=len(CONTENT) - 1),
        replace(PACKAGE, sha256="00" * 32),
    ],
)
def test_a_lock_with_a_wrong_hash_or_size_brings_nothing(
    tmp_path: Path, served: Served, wrong: Package
) -> None:
    served.files[f"/debian/{PATH}"] = CONTENT
    with pytest.raises(PackageError, match="another file than the one that is pinned"):
        Pool(tmp_path, served.sources).fetch(wrong, TAKEN)


def test_a_pool_that_is_not_there_is_named(tmp_path: Path) -> None:
    sources = Sources(mirrors=("http://127.0.0.1:9/debian",), snapshot=None)
    with pytest.raises(PackageError, match=r"127\.0\.0\.1:9/debian/pool.*: Could not connect"):
        Pool(tmp_path, sources).fetch(PACKAGE, TAKEN)


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    nowhere = Sources(snapshot=None)
    kept = tmp_path / "locked" / f"{PACKAGE.name}_{PACKAGE.sha256}.deb"
    kept.parent.mkdir()
    kept.write_bytes(b"another")
    with pytest.raises(PackageError, match="not the file that is pinned"):
        Pool(tmp_path, nowhere).fetch(PACKAGE, TAKEN)
    assert not kept.exists()
    kept.write_bytes(CONTENT)
    assert Pool(tmp_path, nowhere).fetch(PACKAGE, TAKEN) == kept


def test_a_bundle_is_enough(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / PACKAGE.file_name).write_bytes(CONTENT)
    alone = Sources(bundle, snapshot=None)
    fetched = Pool(tmp_path / "work", alone).fetch(PACKAGE, TAKEN)
    assert fetched.read_bytes() == CONTENT
    again = [tmp_path / name for name in ("one.tar", "two.tar")]
    for target in again:
        lock = Lock(TAKEN, (PACKAGE,))
        assert write_bundle(target, [lock, lock], Pool(tmp_path / "work", alone)) == 1
    assert again[0].read_bytes() == again[1].read_bytes()


def test_a_bundle_with_another_file_is_refused(tmp_path: Path, served: Served) -> None:
    served.files[f"/debian/{PATH}"] = CONTENT
    (tmp_path / PACKAGE.file_name).write_bytes(b"another")
    sources = replace(served.sources, directory=tmp_path)
    with pytest.raises(PackageError, match="is not the file that the lock pins for busybox"):
        Pool(tmp_path / "work", sources).fetch(PACKAGE, TAKEN)


def test_the_mirror_is_the_one_that_is_named_then_apts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "debian.sources").write_text(
        "Types: deb\n# http://old.invalid/debian\nURIs: http://near.invalid/debian/\n"
    )
    monkeypatch.setattr(pools, "_SOURCES", [tmp_path / "absent", tmp_path])
    monkeypatch.delenv("DEBIAN_MIRROR", raising=False)
    monkeypatch.delenv("DEBIAN_SNAPSHOT", raising=False)
    assert pools.default_sources() == Sources(mirrors=("http://near.invalid/debian",))
    monkeypatch.setenv("DEBIAN_MIRROR", "http://far.invalid/debian/")
    monkeypatch.setenv("DEBIAN_SNAPSHOT", "http://old.invalid/archive")
    assert pools.default_sources(tmp_path) == Sources(
        tmp_path,
        ("http://far.invalid/debian", "http://near.invalid/debian"),
        "http://old.invalid/archive",
    )
    monkeypatch.setattr(pools, "_SOURCES", [tmp_path / "absent", tmp_path / "absent"])
    assert pools.first_mirror() == "http://far.invalid/debian"
    monkeypatch.delenv("DEBIAN_MIRROR")
    with pytest.raises(PackageError, match="name one in DEBIAN_MIRROR"):
        pools.first_mirror()
