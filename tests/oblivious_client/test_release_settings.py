"""What options about releases and mirrors come to: pins win, nobody is trusted unnamed."""

from dataclasses import replace
from pathlib import Path

import pytest

from oblivious_client import configuration, options, release_settings
from oblivious_client.commands import COMMANDS
from oblivious_client.configuration import Configuration
from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.releases.published import MAX_LIST_BYTES
from oblivious_client.releases.source import Releases
from oblivious_client.releases.trust_file import packaged_trust
from tests.support.releases import BUILDERS, TRUST, WITNESSES, log_of, release


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RELAY", "GATEWAY", "PCRS", "TRUST"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def found(*arguments: str) -> Releases | None:
    return release_settings.releases(options.parse(["keys", *arguments], tuple(COMMANDS)))


@pytest.fixture
def trust(tmp_path: Path) -> str:
    path = tmp_path / "trust.json"
    path.write_bytes(TRUST.encode_file())
    return str(path)


def test_pins_win_over_releases(
    trust: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert found("--trust", trust) is not None
    assert found("--trust", trust, "--pcrs", "f") is None
    monkeypatch.setenv("OBLIVIOUS_TRUST", trust)
    assert found() is not None
    monkeypatch.setenv("OBLIVIOUS_PCRS", "f")
    assert found() is None


def test_this_build_names_nobody_and_says_so() -> None:
    assert packaged_trust() is None, "then docs/releases.md has to say whom"
    assert found() is None
    with pytest.raises(UsageError, match="names no builders") as refused:
        found("--releases", "l")
    assert "--trust" in refused.value.advice
    assert "--pcrs" in refused.value.advice


def test_a_build_that_names_somebody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_settings, "packaged_trust", lambda: TRUST)
    releases = found()
    assert releases is not None
    assert releases.trust == TRUST
    # A trial is none of theirs, unless somebody says so.
    assert found("--allow-simulated") is None


def test_a_trial_may_have_releases_of_its_own(trust: str) -> None:
    assert found("--allow-simulated") is None
    assert found("--allow-simulated", "--trust", trust) is not None


def test_a_list_in_a_file(trust: str, tmp_path: Path) -> None:
    path = tmp_path / "releases.json"
    path.write_bytes(log_of(release(1)).served())
    releases = found("--trust", trust, "--releases", str(path))
    assert releases is not None
    assert releases.is_given
    with pytest.raises(UsageError, match="cannot read"):
        found("--trust", trust, "--releases", str(tmp_path / "none"))
    path.write_bytes(b" " * (MAX_LIST_BYTES + 9))
    with pytest.raises(EvidenceRefused, match="too large"):
        found("--trust", trust, "--releases", str(path))


def test_mirrors_are_keys_whose_signatures_carry_a_time() -> None:
    asked = options.parse(["keys", "--mirror", BUILDERS[0].key.encode()], tuple(COMMANDS))
    with pytest.raises(UsageError, match="carry a time"):
        release_settings.mirrors(asked)


def test_a_mirror_of_two_names_is_not_two() -> None:
    key = WITNESSES[0].key
    names = ("a.example", "b.example")
    words = [word for n in names for word in ("--mirror", replace(key, name=n).encode())]
    with pytest.raises(UsageError, match="one key twice"):
        release_settings.mirrors(options.parse(["keys", *words], tuple(COMMANDS)))
    twice = ["--mirror", key.encode()] * 2
    asked = release_settings.mirrors(options.parse(["keys", *twice], tuple(COMMANDS)))
    assert asked is not None
    assert asked.quorum.keys == (key,)


def test_the_file_names_whom_to_trust(trust: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration.write(configuration.place(), Configuration(trust=trust))
    releases = found()
    assert releases is not None
    assert releases.trust == TRUST
    assert found("--pcrs", "f") is None
    monkeypatch.setenv("OBLIVIOUS_PCRS", "f")
    assert found() is None


def test_who_trusts_now_does_not_mean_the_measurements_of_the_file(trust: str) -> None:
    configuration.write(configuration.place(), Configuration(pcrs="/pins"))
    assert found() is None
    assert found("--trust", trust) is not None


@pytest.mark.parametrize("words", [("--mirrors", "2"), ("--mirror-down", "refuse")])
def test_what_is_wanted_of_mirrors_is_wanted_of_somebody(words: tuple[str, str]) -> None:
    """Else who forgets a key, or has no file here, would think that mirrors are asked."""
    chosen = options.parse(["keys", *words], tuple(COMMANDS))
    with pytest.raises(UsageError, match="names none"):
        release_settings.mirrors(chosen)
