"""Folders of a user: XDG's variables, and each system's own custom."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from oblivious_client import places

FOLDERS = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*FOLDERS, "APPDATA", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/a"))


@pytest.mark.parametrize(
    ("platform", "cache", "configuration", "state"),
    [
        ("linux", ".cache", ".config", ".local/state"),
        ("darwin", "Library/Caches", "Library/Application Support", "Library/Application Support"),
        ("win32", "AppData/Local", "AppData/Local", "AppData/Local"),
    ],
)
def test_each_system_has_its_custom(
    platform: str, cache: str, configuration: str, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    found = (places.cache(), places.configuration(), places.state())
    wanted = tuple(Path("/home/a", each, places.NAME) for each in (cache, configuration, state))
    assert found == wanted


def test_windows_names_its_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("APPDATA", "/roaming")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert places.configuration() == Path("/roaming", places.NAME)
    assert places.cache() == places.state() == Path("/local", places.NAME)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
@pytest.mark.parametrize(
    ("variable", "place"),
    [
        ("XDG_CACHE_HOME", places.cache),
        ("XDG_CONFIG_HOME", places.configuration),
        ("XDG_STATE_HOME", places.state),
        ("XDG_RUNTIME_DIR", places.state),
    ],
)
def test_a_variable_names_its_folder_everywhere_if_it_is_a_whole_path(
    platform: str, variable: str, place: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    otherwise = place()
    monkeypatch.setenv(variable, "/named")
    assert place() == Path("/named", places.NAME)
    for wrong in ("relative", ""):
        monkeypatch.setenv(variable, wrong)
        assert place() == otherwise


def test_a_folder_is_made_for_its_owner_alone_and_left_as_it_is_if_it_is_there(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a" / "b"
    places.make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o755)
    places.make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
