"""The configuration file: what it may say, how it is read, and who can read it."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oblivious_client import configuration
from oblivious_client.configuration import Configuration
from oblivious_client.errors import UsageError
from tests.support.releases import WITNESSES

URL = "https://relay.example"
WHOLE = Configuration(
    relay=(URL, "unix:/r"), proxy="http://a:b@p:1", pcrs="/pins.json", model='m"\\é'
)

KEYS = tuple(each.key.encode() for each in WITNESSES[:2])
EMPTY = Configuration()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "config.toml"
    trusting = Configuration(relay=(URL,), trust="/trust.json")
    mirrored = Configuration(mirror=KEYS, mirrors=1, mirror_of="g.example", mirror_down="warn")
    others = (
        *(trusting, mirrored, Configuration(relay=(URL,))),
        *(Configuration(mirror=KEYS[:1]), Configuration(mirror=KEYS, mirrors=len(KEYS))),
    )
    for said in (WHOLE, Configuration(gateway=URL), *others, EMPTY):
        configuration.write(path, said)
        assert configuration.read(path) == said
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@given(st.text(min_size=1).filter(str.isprintable))
def test_every_printable_name_survives(name: str) -> None:
    text = configuration.as_toml(Configuration(model=name)).encode()
    assert configuration._parsed(text, Path("/")) == Configuration(model=name)


def test_no_file_says_nothing(tmp_path: Path) -> None:
    assert configuration.read(tmp_path / "none") == Configuration()


def test_what_was_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n")
    configuration.write(path, WHOLE)
    assert (tmp_path / "config.toml~").read_text() == "# mine\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config.toml", "config.toml~"]


def test_a_draft_that_cannot_take_its_place_is_taken_away(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n")
    (tmp_path / "config.toml~").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        configuration.write(path, WHOLE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["config.toml", "config.toml~"]
    assert path.read_text() == "# mine\n"


def test_a_file_may_be_as_large_as_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"#" * configuration.LARGEST_FILE)
    assert configuration.read(path) == Configuration()


def test_a_file_of_one_relay_has_no_list(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    configuration.write(path, Configuration(relay=(URL,)))
    head, line = path.read_text().splitlines()
    assert head.startswith("# Written by `oblivious-client setup`.")
    assert line == f'relay = "{URL}"'
    configuration.write(path, Configuration(relay=(URL, "unix:/r")))
    assert path.read_text().splitlines()[1:] == [f'relay = ["{URL}", "unix:/r"]']


def test_what_cannot_be_written_leaves_all_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("# mine\n")
    with pytest.raises(UsageError):
        configuration.write(path / "below", WHOLE)
    assert [each.name for each in tmp_path.iterdir()] == ["config.toml"]
    assert path.read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('relai = "https://r"', "'relai'"),
        ("a = 1\nb = 2", "'a', 'b'"),
        ("relay = 1", "in quotes"),
        ("relay = [1]", "list of them"),
        ("model = 1", "`model` has to be text"),
        ('model = ""', "empty"),
        ('model = "\\u001b"', "cannot be printed"),
        ('relay = "ftp://r"', "not an address of a relay"),
        ('gateway = "r"', "not an address of a gateway"),
        ('proxy = "socks5://p"', "`proxy`"),
        ('relay = "https://r"\ngateway = "https://g"', "a relay and a gateway"),
        ('pcrs = "p"\ntrust = "t"', "measurements and whose releases"),
        ('mirror = "m"', "`mirror` is a key"),
        ("mirror = [1]", "`mirror` is a key in quotes"),
        ("mirrors = 1", "names none"),
        ('mirror_of = "g.example"', "names none"),
        (f'mirror = "{KEYS[0]}"\nmirrors = 2', "how many of the 1"),
        (f'mirror = "{KEYS[0]}"\nmirrors = 0', "how many of the 1"),
        (f'mirror = "{KEYS[0]}"\nmirrors = true', "a number"),
        (f'mirror = "{KEYS[0]}"\nmirrors = "1"', "a number"),
        (f'mirror = "{KEYS[0]}"\nmirror_of = ""', "empty"),
        (f'mirror = "{KEYS[0]}"\nmirror_down = "ask"', "refuse, warn"),
        ("relay", "not TOML"),
        ("a" + "[" * 10_000, "not TOML"),
        ("# " + "x" * configuration.LARGEST_FILE, "octets"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence_that_names_the_file(
    text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        configuration.read(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.advice


def test_octets_that_are_no_text_and_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(UsageError, match="UTF-8"):
        configuration.read(path)
    with pytest.raises(UsageError, match="cannot read"):
        configuration.read(tmp_path)


def test_a_relative_path_begins_at_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('pcrs = "pins.json"')
    assert configuration.read(path).pcrs == str(tmp_path / "pins.json")
    path.write_text('trust = "trust.json"')
    assert configuration.read(path).trust == str(tmp_path / "trust.json")
