"""The library of the page: the one that is locked, with the licences of all that is in it."""

import hashlib
import json
from pathlib import Path

import pytest

from scripts.local import page_library
from scripts.local.page_library import BUNDLED, LIBRARY, LICENSES, LOCKED, SHA256, LibraryError


def test_what_is_shipped_is_what_is_locked() -> None:
    assert hashlib.sha256(LIBRARY.read_bytes()).hexdigest() == SHA256
    locked = json.loads((LOCKED / "package-lock.json").read_bytes())["packages"]
    version = locked["node_modules/markdown-it"]["version"]
    assert LIBRARY.read_text(encoding="utf-8").startswith(f"/*! markdown-it {version} ")
    assert all("integrity" in package for name, package in locked.items() if name)
    assert all("resolved" not in package for package in locked.values())


def test_the_library_asks_for_nothing_and_makes_no_markup_by_itself() -> None:
    text = LIBRARY.read_text(encoding="utf-8")
    for word in ("fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval(", "new Function"):
        assert word not in text


def test_another_library_is_refused() -> None:
    with pytest.raises(LibraryError, match="SHA-256"):
        page_library.checked(LIBRARY.read_bytes() + b"\n")


def test_the_licence_of_each_part_is_shipped() -> None:
    text = LICENSES.read_text(encoding="utf-8")
    for name in BUNDLED:
        assert f"\n{name}\n{'=' * len(name)}\n" in f"\n{text}"
    assert text.count("Copyright") >= len(BUNDLED)


def test_it_is_written_from_what_npm_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "node_modules"
    for name in BUNDLED:
        (packages / name).mkdir(parents=True)
        (packages / name / "LICENSE").write_text(f"Copyright of {name}\n")
    source = packages / page_library._SOURCE
    source.parent.mkdir(parents=True)
    source.write_bytes(LIBRARY.read_bytes())
    vendor = tmp_path / "vendor"
    monkeypatch.setattr(page_library, "installed", lambda: packages)
    monkeypatch.setattr(page_library, "VENDOR", vendor)
    monkeypatch.setattr(page_library, "LIBRARY", vendor / "library.mjs")
    monkeypatch.setattr(page_library, "LICENSES", vendor / "LICENSES.txt")
    page_library.main()
    assert (vendor / "library.mjs").read_bytes() == LIBRARY.read_bytes()
    assert "Copyright of uc.micro" in (vendor / "LICENSES.txt").read_text()


def test_a_failed_installation_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_library, "INSTALLED", tmp_path)
    commands: list[list[str]] = []

    def run(command: list[str], *, cwd: Path, check: bool) -> None:
        commands.append(command)
        (cwd / "node_modules").mkdir(exist_ok=True)
        if len(commands) == 1:
            raise OSError("no npm")

    monkeypatch.setattr("subprocess.run", run)
    with pytest.raises(OSError, match="no npm"):
        page_library.installed()
    for _ in range(2):  # the second finds it there
        assert page_library.installed() == tmp_path / "node_modules"
    assert len(commands) == 2
    assert all("--ignore-scripts" in command for command in commands)
