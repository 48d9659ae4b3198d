"""Lists as a publisher makes them: they only grow, and nothing unsigned comes in."""

import dataclasses

import pytest

from oblivious_client.releases.published import cosigned, verify
from scripts.publishing.listing import extended, joined, logged
from scripts.publishing.stating import PublishingError
from tests.support.releases import (
    BUILDERS,
    LOG,
    NOW,
    STRANGER,
    TRUST,
    WITNESSES,
    change,
    note,
    release,
)

ONE = logged(extended(None, [note(release(1))], TRUST), LOG)


def test_a_list_begins_and_grows() -> None:
    two = logged(extended(ONE, [note(release(2))], TRUST), LOG)
    assert two.entries[:1] == ONE.entries
    for each in WITNESSES[:2]:
        two = cosigned(two, each, NOW)
    assert [each.sequence for _, each in verify(two, TRUST).releases()] == [1, 2]


@pytest.mark.parametrize("builders", [[], BUILDERS[:1], [BUILDERS[0], STRANGER]])
def test_too_few_builders(builders: list[object]) -> None:
    with pytest.raises(PublishingError, match="takes 2 of 3"):
        extended(ONE, [note(release(2), builders)], TRUST)  # type: ignore[arg-type]


def test_what_is_no_list_is_not_made() -> None:
    for more in ([note(release(1))], [change(TRUST, BUILDERS[:1])]):
        with pytest.raises(PublishingError):
            extended(ONE, more, TRUST)


def test_lines_of_witnesses_are_joined() -> None:
    apart = [cosigned(ONE, each, NOW) for each in WITNESSES[:2]]
    assert verify(joined(apart), TRUST).as_of == NOW
    assert joined([ONE]) == ONE
    more = [each.signed([BUILDERS[2].sign(each.text)]) for each in ONE.entries]
    later = dataclasses.replace(ONE, entries=tuple(more))
    assert joined([ONE, later]).entries == later.entries


def test_other_lists_are_not_joined() -> None:
    other = logged(extended(None, [note(release(1, version="9"))], TRUST), LOG)
    for each in (other, extended(ONE, [note(release(2))], TRUST)):
        with pytest.raises(PublishingError, match="differ"):
            joined([ONE, each])
