"""Releases on the command line: got, shown, pinned, and what stops a question."""

import asyncio
import json
import subprocess
import time
from pathlib import Path

import pytest

from oblivious_client.errors import EvidenceRefused
from oblivious_client.exits import Exit
from oblivious_client.policy import Policy, Simulated
from oblivious_client.releases.memory import memory_for
from oblivious_client.releases.source import Releases
from oblivious_client.releases.trust import DAY_SECONDS
from oblivious_client.releases.trust_file import read_trust
from oblivious_client.transport import AsyncObliviousTransport
from tests.support.gateway import WORDS
from tests.support.released_gateway import (
    RELEASES,
    User,
    begun,
    listed,
    running,
    user,
)
from tests.support.releases import BUILDERS, TRUST, note

__all__ = ["user"]

ANSWER = "".join(WORDS) + "\n"
EVIDENCE, RESOURCE = "/v1/attestation", "/"


def test_a_question_to_a_published_release(user: User) -> None:
    user.publish(listed(running(1)))
    outcome = user("chat", "Hi")
    assert (outcome.code, outcome.out) == (Exit.OK, ANSWER)
    assert "release: 1.1.0, signed by 2 of 3 builders (2 needed); list 24 hours old" in outcome.err
    assert user.asked() == [RELEASES, EVIDENCE, RESOURCE]
    # The list is fetched once a day, the evidence when it is too old.
    assert user("chat", "Hi").code == Exit.OK
    assert user("chat --no-cache", "Hi").code == Exit.OK
    assert user.asked()[3:] == [RESOURCE, EVIDENCE, RESOURCE]


def test_the_list_is_asked_for_as_evidence_is(user: User) -> None:
    user.publish(listed(running(1)))
    user("verify")
    first, second = user.gateway.arrived
    assert (first.path, second.path) == (RELEASES, EVIDENCE)
    assert first.fields == second.fields


def test_verify_says_which_release_runs(user: User) -> None:
    user.publish(listed(begun(1), running(2)), days=2)
    outcome = user("verify")
    assert outcome.code == Exit.OK
    for words in (
        "release       1.2.0 (number 2, kernel debian-6.12.117-1), as published",
        "signed by 2 of 3 builders (2 needed): build-a.example, build-b.example",
        "2 days ago (at most 7 days)",
        "witness-a.example, witness-b.example; 0 of them independent of the builders",
        "as pinned",
    ):
        assert words in outcome.out
    described = json.loads(user("verify --json").out)["release"]
    assert (described["version"], described["sequence"], described["until"]) == ("1.2.0", 2, None)
    assert described["builders"] == ["build-a.example", "build-b.example"]
    assert described["list"]["age_seconds"] >= 2 * DAY_SECONDS


def test_what_nobody_published_is_not_asked(user: User) -> None:
    user.publish(listed(begun(1)))
    for command in ("chat", "verify", "keys"):
        outcome = user(command, *(["Hi"] if command == "chat" else []))
        assert outcome.code == Exit.PCRS
        assert "2 of 3 builders have not published" in outcome.err
    assert user.gateway.posts() == []


def test_a_release_that_has_just_come_out_is_looked_for_once(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.publish(listed(begun(1)))
    assert user("releases fetch").code == Exit.OK
    user.publish(listed(begun(1), running(2)))
    assert user("chat", "Hi").code == Exit.PCRS  # fetched a moment ago
    monkeypatch.setattr("oblivious_client.releases.source.AGAIN_SECONDS", 0)
    assert user("chat", "Hi").code == Exit.OK
    assert user.asked() == [RELEASES, EVIDENCE, EVIDENCE, RELEASES, RESOURCE]


def test_a_frozen_list_stops_questions(user: User) -> None:
    user.publish(listed(running(1)), days=8)
    for command in ("chat", "verify"):
        outcome = user(command, *(["Hi"] if command == "chat" else []))
        assert outcome.code == Exit.RELEASES_STALE
        assert "the list of releases is 8 days old" in outcome.err
    assert user("releases fetch").code == Exit.RELEASES_STALE
    assert user.gateway.posts() == []
    user.publish(listed(running(1)))
    assert user("releases fetch").code == Exit.OK
    assert user("chat", "Hi").code == Exit.OK


def test_a_list_that_is_nearly_too_old_is_warned_of(user: User) -> None:
    user.publish(listed(running(1)), days=5.5)
    for command in ("chat", "verify", "releases fetch", "releases list"):
        outcome = user(command, *(["Hi"] if command == "chat" else []))
        assert outcome.code == Exit.OK
        assert "warning: the list of releases is 6 days old" in outcome.err


def test_a_relay_that_serves_no_list(user: User) -> None:
    outcome = user("chat", "Hi")
    assert outcome.code == Exit.OUTER_REFUSAL
    assert "asked for the list of releases" in outcome.err
    assert user.gateway.posts() == []


def test_a_list_that_is_here_goes_on_without_the_relay(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    user.publish(listed(running(1)))
    assert user("releases fetch").code == Exit.OK
    monkeypatch.setattr("oblivious_client.releases.source.RENEW_SECONDS", 0)
    bad = user.gateway.files[RELEASES].replace(b"1.1.0", b"1.1.1")
    for served in (bad, None):
        user.gateway.files.pop(RELEASES)
        if served is not None:
            user.gateway.files[RELEASES] = served
        outcome = user("chat --no-cache", "Hi")
        assert outcome.code == Exit.OK
        assert "warning: no newer list of releases came" in outcome.err
    monkeypatch.setattr("oblivious_client.releases.source.acceptance.is_stale", lambda *_: True)
    assert user("chat --no-cache", "Hi").code == Exit.RELEASES_STALE


def test_a_list_that_does_not_verify(user: User) -> None:
    user.publish(listed(running(1)))
    for served in (b"", user.gateway.files[RELEASES].replace(b"1.1.0", b"1.1.1")):
        user.gateway.files[RELEASES] = served
        outcome = user("chat", "Hi")
        assert outcome.code == Exit.RELEASES_REFUSED
        assert "the list of releases is refused" in outcome.err
    assert user.gateway.posts() == []


def test_a_list_that_is_too_large_is_not_read(user: User) -> None:
    user.gateway.files[RELEASES] = b" " * ((1 << 20) + 1)
    assert user("releases fetch").code == Exit.UNREADABLE
    user.gateway.files[RELEASES] = b" " * (1 << 20)
    assert user("releases fetch").code == Exit.RELEASES_REFUSED


def test_two_pasts_stop_everything_until_a_person_decides(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1), begun(2)))
    assert user("chat", "Hi").code == Exit.OK
    user.publish(listed(running(1), begun(2, version="9"), begun(3)))
    outcome = user("releases fetch")
    assert outcome.code == Exit.RELEASES_CONFLICT
    assert "conflict-seen.json" in outcome.err
    posts = len(user.gateway.posts())
    for command in ("chat", "verify", "releases fetch", "releases list"):
        outcome = user(command, *(["Hi"] if command == "chat" else []))
        assert outcome.code == Exit.RELEASES_CONFLICT
    assert len(user.gateway.posts()) == posts
    assert len(list((tmp_path / "cache").rglob("conflict-*.json"))) == 2
    assert user("releases fetch --forget").code == Exit.OK
    assert user("chat", "Hi").code == Exit.OK
    assert len(list((tmp_path / "cache").rglob("settled-*-conflict-*.json"))) == 2


def test_pins_win(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)), days=8)
    pins = tmp_path / "pcrs.json"
    assert user("releases fetch").code == Exit.RELEASES_STALE
    assert user("releases pin 1.1.0", "--out", pins).code == Exit.OK
    del user.gateway.files[RELEASES]
    asked = len(user.asked())
    outcome = user("chat", "--pcrs", pins, "Hi")
    assert outcome.code == Exit.OK
    assert "3 pinned measurements match" in outcome.err
    assert user.asked()[asked:] == [EVIDENCE, RESOURCE]
    pins.write_text(json.dumps({"PCR0": "11" * 48}))
    assert user("chat", "--pcrs", pins, "Hi").code == Exit.PCRS


def test_fetch_prints_what_is_new(user: User) -> None:
    user.publish(listed(running(1)))
    outcome = user("releases fetch")
    assert outcome.out == (
        "new: 1.1.0 (number 1, kernel debian-6.12.117-1)\n1 entries, 1 of them new\n"
    )
    user.publish(listed(running(1), begun(2)))
    assert user("releases fetch").out.splitlines()[-1] == "2 entries, 1 of them new"
    assert user("releases fetch").out == "2 entries, 0 of them new\n"
    described = json.loads(user("releases fetch --json").out)
    assert (described["size"], described["floor"]) == (2, 1)


def test_list(user: User) -> None:
    log = listed(running(1), begun(2, floor=2)).add(note(begun(3), BUILDERS[:1]))
    user.publish(log)
    assert user("releases list").code == Exit.RELEASES_STALE  # none has been fetched
    user("releases fetch")
    outcome = user("releases list")
    assert outcome.code == Exit.OK
    for words in (
        "2 of 3 builders, 2 of 3 witnesses (1 independent, 2 of the builders' own)",
        "floor         2: nothing below it will do",
        *(key.encode() for key in TRUST.builders.keys),
        "build-a.example, build-b.example: will not do",
        "build-a.example, build-b.example: will do",
        "build-a.example: NOT SIGNED by enough builders",
    ):
        assert words in outcome.out
    rows = json.loads(user("releases list --json").out)["releases"]
    assert [(row["sequence"], row["signed"], row["accepted"]) for row in rows] == [
        (1, True, False),
        (2, True, True),
        (3, False, False),
    ]


def test_show_and_pin(user: User, tmp_path: Path) -> None:
    both = listed(running(1), begun(2), begun(2, kernel="aws-4.14"))
    user.publish(both.add(note(begun(3), BUILDERS[:1])))
    user("releases fetch")
    shown = user("releases show 1.1.0")
    assert shown.out == note(running(1)).encode() or shown.out.startswith(
        "oblivious-inference/release/v1\n"
    )
    assert len(json.loads(user("releases pin 1.2.0").out)) == 2
    assert user("releases pin 1.3.0").code == Exit.RELEASES_REFUSED
    for command in ("releases pin 9", "releases pin", "releases show", "releases list 1"):
        assert user(command).code == Exit.USAGE
    nowhere = tmp_path / "no" / "where"
    assert user("releases pin 1.1.0", "--out", nowhere).code == Exit.USAGE


def test_a_version_that_came_back_means_the_one_of_the_new_number(user: User) -> None:
    user.publish(listed(running(1), begun(2), begun(3, version="1.1.0")))
    user("releases fetch")
    pinned = user("releases pin 1.1.0").out
    assert begun(3).pcrs[0].hex() in pinned
    assert running(1).pcrs[0].hex() not in pinned


@pytest.mark.parametrize(
    ("words", "wanted"),
    [("list 1", "no more words"), ("show", "a VERSION"), ("audit 1 2", "a VERSION")],
)
def test_what_an_action_takes_is_said(user: User, words: str, wanted: str) -> None:
    outcome = user(f"releases {words}")
    assert outcome.code == Exit.USAGE
    assert f"`releases {words.split()[0]}` takes {wanted}" in outcome.err


def test_audit(user: User) -> None:
    good = listed(running(1), begun(2))
    user.publish(good)
    user("releases fetch")
    outcome = user("releases audit")
    assert outcome.code == Exit.OK
    assert "entry 2: 1.2.0" in outcome.out
    assert f"git worktree add --detach DIR {begun(2).commit}" in outcome.out
    assert f"compare PCR0 {begun(2).pcrs[0].hex()}" in outcome.out
    assert begun(1).commit in user("releases audit 1.1.0").out
    user.publish(good.add(note(begun(3), BUILDERS[:1])))
    user("releases fetch")
    outcome = user("releases audit")
    assert outcome.code == Exit.RELEASES_REFUSED
    assert (
        "entry 3: 1.3.0 (number 3, kernel debian-6.12.117-1): signed by build-a.example: NOT"
        in (outcome.out)
    )


def test_audit_of_an_empty_list(user: User) -> None:
    user.publish(listed())
    user("releases fetch")
    assert user("releases audit").code == Exit.USAGE


BUILD = """#!/bin/sh
test "$1" = --out && printf image >"$2" && cat "$(dirname "$0")/measurements.json"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, str]:
    """A checkout whose build prints measurements, and its commit."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts/build-eif").write_text(BUILD)
    (folder / "scripts/build-eif").chmod(0o755)
    registers = {f"PCR{index}": value.hex() for index, value in running(1).pcrs.items()}
    (folder / "scripts/measurements.json").write_text(json.dumps({"Measurements": registers}))
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "Begin"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return folder, head.stdout.strip()


def test_audit_builds_and_compares(user: User, checkout: tuple[Path, str]) -> None:
    folder, commit = checkout
    good, bad = running(1, commit=commit), begun(2, commit=commit)
    user.publish(listed(good, bad, begun(3)))
    user("releases fetch")
    outcome = user("releases audit 1.1.0", "--build", folder)
    assert outcome.code == Exit.OK
    assert "the same measurements" in outcome.out
    outcome = user("releases audit 1.2.0", "--build", folder)
    assert outcome.code == Exit.RELEASES_REFUSED
    assert "OTHER measurements" in outcome.out
    outcome = user("releases audit", "--build", folder)  # whose commit nobody has
    assert outcome.code == Exit.FAILURE
    assert "nothing could be compared" in outcome.err
    listing = ["git", "-C", str(folder), "worktree", "list"]
    left = subprocess.run(listing, check=True, capture_output=True, text=True)
    assert len(left.stdout.splitlines()) == 1


def test_a_program_that_goes_on_asks_whether_its_release_still_will_do(user: User) -> None:
    user.publish(listed(running(1)))
    trust, now = read_trust(user.trust), time.time()
    releases = Releases(trust, memory_for(trust, user.trust.parent / "own"), now=now)
    policy = Policy(simulated=Simulated.ALLOWED)

    async def test() -> None:
        transport = AsyncObliviousTransport(user.gateway.url, policy=policy, releases=releases)
        await transport.evidence()
        await transport.evidence()
        assert user.asked() == [RELEASES, EVIDENCE]
        # Another process fetches a list with a floor; the memory is everybody's, the file is not
        # read again before its time. Here this one takes it.
        log = listed(running(1), begun(2, floor=2))
        releases.take(log.served(int(now)), now=now)
        with pytest.raises(EvidenceRefused) as refused:
            await transport.evidence()
        assert refused.value.code is Exit.PCRS
        await transport.aclose()

    asyncio.run(test())


def test_a_list_from_a_file_opens_no_connection(user: User, tmp_path: Path) -> None:
    path = tmp_path / "releases.json"
    path.write_bytes(listed(running(1)).served(int(time.time())))
    for command in ("releases fetch", "releases list", "releases audit", "releases pin 1.1.0"):
        assert user(command, "--releases", path).code == Exit.OK
    assert user.asked() == []
    assert user("chat", "--releases", path, "Hi").code == Exit.OK
    assert user.asked() == [EVIDENCE, RESOURCE]


def test_a_build_that_names_nobody(user: User) -> None:
    for command in ("releases list", "releases fetch"):
        outcome = user.run(*command.split(), "--relay", user.gateway.url)
        assert outcome.code == Exit.USAGE
        assert "this build of the client names no builders" in outcome.err


# Saved answers.


def test_a_saved_answer_is_judged_as_of_then(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)))
    path = tmp_path / "answer.json"
    outcome = user("chat", "--save", path, "Hi")
    assert f"verify --allow-simulated --trust {user.trust} {path}" in outcome.err
    # Later the release is below the floor; the answer was good then.
    user.publish(listed(running(1), begun(2, floor=2)))
    assert user("releases fetch").code == Exit.OK
    asked = len(user.asked())
    outcome = user("verify", path)
    assert outcome.code == Exit.OK
    assert "as pinned" in outcome.out
    assert len(user.asked()) == asked

    saved = json.loads(path.read_text())
    saved["releases"]["entries"] = []
    path.write_text(json.dumps(saved))
    assert user("verify", path).code == Exit.RELEASES_REFUSED


def test_a_saved_answer_and_a_list_of_another_time(user: User, tmp_path: Path) -> None:
    user.publish(listed(running(1)))
    path = tmp_path / "answer.json"
    user("chat", "--save", path, "Hi")
    saved = json.loads(path.read_text())
    old = listed(running(1)).served(int(time.time()) - 8 * DAY_SECONDS)
    path.write_text(json.dumps({**saved, "releases": json.loads(old)}))
    assert user("verify", path).code == Exit.RELEASES_STALE
    other = listed(begun(1)).served(int(time.time()))
    path.write_text(json.dumps({**saved, "releases": json.loads(other)}))
    assert user("verify", path).code == Exit.PCRS


def test_a_list_that_came_another_way_is_remembered(user: User, tmp_path: Path) -> None:
    log, path = listed(running(1)), tmp_path / "releases.json"
    path.write_bytes(log.served(int(time.time())))
    assert user("verify").code != Exit.OK  # the relay serves none
    assert "1 entries, 1 of them new" in user("releases fetch", "--releases", path).out
    assert user("verify").code == Exit.OK
    assert user("chat", "Hi").code == Exit.OK
    path.write_bytes(log.add(note(begun(2))).served(int(time.time())))
    outcome = user("releases fetch", "--releases", path)
    assert "new: 1.2.0" in outcome.out
    assert "2 entries, 1 of them new" in outcome.out
    assert user.asked().count(RELEASES) == 1


def test_a_list_of_another_past_is_begun_with_once_somebody_has_decided(
    user: User, tmp_path: Path
) -> None:
    path = tmp_path / "releases.json"
    for log in (listed(running(1)), listed(running(1, commit="f" * 40))):
        path.write_bytes(log.served(int(time.time())))
        outcome = user("releases fetch", "--releases", path)
    assert outcome.code == Exit.RELEASES_CONFLICT
    outcome = user("releases fetch --forget", "--releases", path)
    assert outcome.code == Exit.OK
    assert "1 entries, 1 of them new" in outcome.out
