"""Statements: one form for each, and nothing that pins nothing."""

import json
from typing import Any

import pytest

from oblivious_client.releases.refusals import ListFault, ListRefused
from oblivious_client.releases.statements import CHANGE, RELEASE, Change, Release, decode
from protocol.errors import MalformedMessage
from protocol.note_key import LATEST_TIME
from tests.support.releases import ALONE, TRUST, pcrs, release

GOOD = release(5, floor=3)
MEMBERS = json.loads(GOOD.encode().split("\n")[1])


def text(header: str = RELEASE, **more: Any) -> str:
    members = {name: value for name, value in {**MEMBERS, **more}.items() if value is not None}
    return f"{header}\n{json.dumps(members, sort_keys=True, separators=(',', ':'))}\n"


def test_the_form() -> None:
    registers = ",".join(f'"{index}":"{value.hex()}"' for index, value in pcrs(5).items())
    assert GOOD.encode() == (
        "oblivious-inference/release/v1\n"
        f'{{"commit":"{5:040x}","config":"{"c" * 64}","floor":3,"image":"{5:064x}",'
        f'"kernel":"debian-6.12.117-1","pcrs":{{{registers}}},"sbom":"{"5" * 64}",'
        f'"sequence":5,"valid_from":{GOOD.valid_from},"version":"1.5.0"}}\n'
    )
    assert decode(GOOD.encode(), TRUST) == GOOD
    assert text() == GOOD.encode()
    assert str(GOOD) == "1.5.0 (number 5, kernel debian-6.12.117-1)"


def test_an_image_that_is_signed() -> None:
    signed = release(5, pcrs={**pcrs(5), 8: b"\x08" * 48})
    assert decode(signed.encode(), TRUST) == signed


def test_a_change() -> None:
    change = Change(ALONE)
    assert decode(change.encode(), TRUST) == change
    assert change.encode().startswith(CHANGE + '\n{"builders":{"keys":["build-a.example+')


@pytest.mark.parametrize(
    "entry",
    [
        "",
        RELEASE,
        f"{RELEASE}\n",
        f"{RELEASE}\n[]\n",
        f"{RELEASE}\n{{}}\n",
        text("another-project/release/v1"),
        text() + "\n",
        text() + "{}\n",
        text()[:-1],
        text().replace(":", ": "),
        text().replace('"floor":3', '"floor":3.0'),
        text().replace('"floor":3', '"floor":3,"floor":3'),
        text(more="1"),
        text(commit=None),
        text(commit="0" * 39),
        text(commit="A" * 40),
        text(commit=5),
        text(config="c" * 63),
        text(version=""),
        text(version="1 2"),
        text(version="é"),
        text(kernel="-x"),
        text(kernel="x" * 65),
        text(floor=0),
        text(floor=6),
        text(floor=True),
        text(sequence="5"),
        text(sequence=1 << 31),
        text(valid_from=0),
        text(valid_from=LATEST_TIME + 1),
        text(valid_from=1 << 53),
        text(pcrs=[]),
        text(pcrs={}),
        text(pcrs={name: value for name, value in MEMBERS["pcrs"].items() if name != "2"}),
        text(pcrs={**MEMBERS["pcrs"], "3": "aa" * 48}),
        text(pcrs={**MEMBERS["pcrs"], "2": "AA" * 48}),
        text(pcrs={**MEMBERS["pcrs"], "2": "aa" * 47}),
        text(pcrs={**MEMBERS["pcrs"], "02": "aa" * 48}),
        text(pcrs={**MEMBERS["pcrs"], "2": 5}),
        f"{CHANGE}\n{{}}\n",
        f"{CHANGE}\n{json.dumps(TRUST.encode())}\n",
    ],
)
def test_what_is_no_statement(entry: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(entry, TRUST)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("floor", 1),
        ("floor", MEMBERS["sequence"]),
        ("sequence", (1 << 31) - 1),
        ("valid_from", 1),
        ("valid_from", LATEST_TIME),
    ],
)
def test_numbers_may_be_at_their_ends(name: str, value: int) -> None:
    changed: dict[str, Any] = {name: value}
    assert getattr(decode(text(**changed), TRUST), name) == value


def test_a_debug_image_is_no_release() -> None:
    for index in range(3):
        zeroed = {**MEMBERS["pcrs"], str(index): "00" * 48}
        with pytest.raises(MalformedMessage, match="zero"):
            decode(text(pcrs=zeroed), TRUST)
        with pytest.raises(ValueError, match="zero"):
            release(5, pcrs={**pcrs(5), index: bytes(48)})


def test_a_later_kind_is_not_passed_over() -> None:
    for header in ("oblivious-inference/release/v2", "oblivious-inference/policy/v2"):
        with pytest.raises(ListRefused) as refused:
            decode(text(header), TRUST)
        assert refused.value.fault is ListFault.LATER_KIND


def test_a_release_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="commit"):
        release(5, commit="x")
    assert isinstance(release(5), Release)
