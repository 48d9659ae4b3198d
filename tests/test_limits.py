"""docs/limits.md: every default, range, size, count and time that it promises is the code's."""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

from enclave_server.chat.bounds import PROVIDER
from enclave_server.chat.embedded import EMBEDDED
from enclave_server.config import Config, ConfigError, parse_config
from enclave_server.engine.child import CONNECTIONS, installed_weights, needed_mib

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = (DOCS / "limits.md").read_text(encoding="utf-8")
OPERATIONS = (DOCS / "operations.md").read_text(encoding="utf-8")
SETTING = re.compile(r"^\| `([\w.]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ", re.MULTILINE)
FIXED = re.compile(r"^\| .+ \| ([\d.,]+)(?: (\w+))? \| `([\w/]+)\.py` (\w+) \|$", re.MULTILINE)
UNITS = {"": 1, "octets": 1, "s": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}

SETTINGS = [match.groups() for match in SETTING.finditer(TEXT)]
UPSTREAM = "[upstreams.NAME]\naddress = 'unix:/a'\n"


def number(text: str) -> float | None:
    """Return the number that a cell has, or None for words or a dash."""
    plain = text.replace(",", "")
    return float(plain) if re.fullmatch(r"[\d.]+", plain) else None


def configured(name: str, value: float) -> Config:
    """Return the configuration in which one setting has a value."""
    table, _, key = name.rpartition(".")
    begun = UPSTREAM if table == "upstreams.NAME" else f"[{table}]\n"
    return parse_config(f"{begun}{key} = {int(value) if value == int(value) else value}\n")


def found(config: Config, name: str) -> object:
    at: object = config
    for part in name.split("."):
        at = at[part] if isinstance(at, dict) else getattr(at, part)
    return at


def test_every_line_of_a_table_is_read() -> None:
    lines = [line for line in TEXT.splitlines() if line.startswith("| ")]
    heads = [line for line in lines if line.startswith(("| what |", "| setting |"))]
    rules = [line for line in lines if line.startswith("| --- |")]
    assert len(SETTINGS) + len(FIXED.findall(TEXT)) == len(lines) - len(heads) - len(rules)


@pytest.mark.parametrize(("name", "default"), [each[:2] for each in SETTINGS])
def test_a_setting_has_its_default(name: str, default: str) -> None:
    words: dict[str, object] = {"true": True, "false": False, "on": "on"}
    assert found(parse_config(UPSTREAM), name) == words.get(default, number(default))


@pytest.mark.parametrize(("name", "least", "most"), [(a, c, d) for a, _, c, d in SETTINGS])
def test_a_setting_is_taken_up_to_its_ends(name: str, least: str, most: str) -> None:
    for text, beyond in ((least, -1), (most, 1)):
        if (end := number(text)) is not None:
            assert found(configured(name, end), name) == end
            with pytest.raises(ConfigError):
                configured(name, end + beyond)


@pytest.mark.parametrize(("amount", "unit", "module", "name"), FIXED.findall(TEXT))
def test_what_is_fixed_is_so(amount: str, unit: str, module: str, name: str) -> None:
    promised = number(amount)
    assert promised is not None
    actual = getattr(importlib.import_module(module.replace("/", ".")), name)
    assert actual == promised * UNITS[unit], f"{module}.py {name}"


BOUNDS = re.findall(r"^\| `(\w+)` \| ([\d,]+)[^|]* \| ([\d,]+) \|", OPERATIONS, re.MULTILINE)


def test_what_may_be_asked_of_a_model_is_what_operators_are_told() -> None:
    assert {name: number(most) for name, most, _ in BOUNDS} == dataclasses.asdict(PROVIDER)
    assert {name: number(most) for name, _, most in BOUNDS} == dataclasses.asdict(EMBEDDED)


def test_the_engine_gets_the_address_space_that_operators_are_told() -> None:
    weights = installed_weights()
    assert weights is not None
    told = re.search(
        r"([\d,]+) MiB with the weights that come\s+with it and one thread", OPERATIONS
    )
    assert told is not None
    needed = needed_mib(weights.path, CONNECTIONS, 1)
    assert needed == number(told[1])
    assert needed_mib(weights.path, CONNECTIONS, 2) == needed + 20
    assert needed_mib(weights.path, CONNECTIONS + 1, 1) == needed + 10


def test_the_memory_of_requests_is_enough_for_the_rate_that_operators_are_told() -> None:
    told = re.search(r"the default is enough for ([\d,]+) a\s+second", OPERATIONS)
    assert told is not None
    rate = Config().replay.capacity / Config().replay.window_seconds
    assert number(told[1]) == int(rate)
