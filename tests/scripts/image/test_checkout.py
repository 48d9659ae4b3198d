"""An image is made of what git tracks, and of nothing that merely lies there."""

import subprocess
from pathlib import Path

import pytest

from scripts.image import checkout
from scripts.image.checkout import CheckoutError


def git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@invalid"]
    command = ["git", "-C", str(repository), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("protocol/a.py", "enclave_server/chat/b.py", "setup.cfg", "docs/d.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def test_the_modules_are_those_that_git_tracks(repository: Path) -> None:
    (repository / "protocol/untracked.py").touch()
    found = checkout.own_modules(repository)
    assert sorted(map(str, found)) == ["enclave_server/chat/b.py", "protocol/a.py"]


def test_a_tree_as_committed_is_taken(repository: Path) -> None:
    (repository / "protocol/__pycache__").mkdir()
    (repository / "protocol/__pycache__/a.pyc").touch()
    (repository / "docs/d.md").write_text("what decides nothing may differ")
    (repository / "mine.toml").touch()
    checkout.refuse_changes(repository)


@pytest.mark.parametrize("name", ["protocol/new.py", "protocol/a.py", "scripts/image/guest/x"])
def test_a_tree_with_changes_is_refused(repository: Path, name: str) -> None:
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("other")
    with pytest.raises(CheckoutError, match=f"{name}: not as committed"):
        checkout.refuse_changes(repository)
    git(repository, "add", ".")
    with pytest.raises(CheckoutError, match=name):
        checkout.refuse_changes(repository)
    git(repository, "commit", "--quiet", "--message", "more")
    checkout.refuse_changes(repository)


def test_a_module_that_was_removed_is_a_change(repository: Path) -> None:
    (repository / "protocol/a.py").unlink()
    with pytest.raises(CheckoutError, match=r"protocol/a\.py"):
        checkout.refuse_changes(repository)


def test_a_directory_without_git_is_refused(tmp_path: Path) -> None:
    for attempt in (checkout.refuse_changes, checkout.own_modules):
        with pytest.raises(CheckoutError, match="images are made of what git tracks, but"):
            attempt(tmp_path)


def test_all_that_decides_an_image_is_watched() -> None:
    for name in checkout.INPUTS:
        assert (checkout.REPOSITORY / name).exists()
