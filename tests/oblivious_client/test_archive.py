"""Saved answers: what is written is read back, for its owner alone, and damage is told."""

import base64
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from oblivious_client import archive
from oblivious_client.answers import Answer
from oblivious_client.client import ObliviousClient
from oblivious_client.errors import AnswerUnproven, ClientError, EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.policy import MAX_AGE_SECONDS, Policy, Simulated
from protocol.signature import Algorithm
from tests.support.gateway import MODEL, StandInGateway

ALLOWED = Policy(simulated=Simulated.ALLOWED)


@pytest.fixture(scope="module")
def answer() -> Iterator[Answer]:
    with (
        StandInGateway() as gateway,
        ObliviousClient(gateway.url, policy=ALLOWED) as client,
    ):
        yield client.chat("What is the capital of France?", model=MODEL)


@pytest.fixture
def saved(answer: Answer, tmp_path: Path) -> Path:
    path = tmp_path / "answer.json"
    archive.save(path, answer)
    return path


def altered(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def test_what_is_saved_is_proven_again(answer: Answer, saved: Path) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    archived = archive.load(saved)
    assert (archived.request, archived.body) == (answer.request, answer.body)
    assert archived.evidence == answer.evidence.evidence
    proven = archive.verify(archived, ALLOWED)
    assert proven.text == answer.text
    assert proven.signed == answer.signed
    with pytest.raises(EvidenceRefused) as caught:
        archive.verify(archived, Policy())
    assert caught.value.code is Exit.SIMULATED


def test_a_person_can_read_it(answer: Answer, saved: Path) -> None:
    text = saved.read_text(encoding="utf-8")
    assert text.endswith("\n}\n")
    assert [line[:5] for line in text.splitlines() if line.startswith('  "')] == [
        '  "fo',
        '  "re',
        '  "an',
        '  "ev',
    ]
    named = {**answer.body, "choices": [{"message": {"content": "Zürich"}}]}
    archive.save(saved, replace(answer, body=named))
    assert '"Zürich"' in saved.read_text(encoding="utf-8")


def test_a_file_that_was_open_to_others_is_not_any_more(answer: Answer, tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text("longer than what is written now" * 10_000)
    path.chmod(0o666)
    archive.save(path, answer)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert archive.load(path).body == answer.body


def test_what_is_no_file_keeps_its_mode(answer: Answer, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o622)
    pipe.chmod(0o622)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), encoding="utf-8") as reader:  # noqa: PTH123
        archive.save(pipe, answer)
        assert json.loads(reader.read())["format"] == archive.FORMAT
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o622


def test_where_nothing_can_be_written_is_known_before(answer: Answer, tmp_path: Path) -> None:
    archive.check_writable(tmp_path / "answer.json")
    (tmp_path / "there").touch()
    archive.check_writable(tmp_path / "there")
    for path in (tmp_path, tmp_path / "absent" / "file"):
        with pytest.raises(UsageError, match="cannot write"):
            archive.check_writable(path)
        with pytest.raises(UsageError, match="cannot write"):
            archive.save(path, answer)


def test_where_nothing_is_nothing_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*: No such file"):
        archive.load(tmp_path / "absent")


DAMAGES: list[Callable[[dict[str, Any]], None]] = [
    lambda stored: stored.update(format="oblivious-inference-answer/2"),
    lambda stored: stored.update(answer=[]),
    lambda stored: stored.update(request="no base64!"),
    lambda stored: stored.update(request=None),
    lambda stored: stored.update(evidence={}),
    lambda stored: stored.pop("format"),
    lambda stored: stored.pop("request"),
    lambda stored: stored.pop("answer"),
    lambda stored: stored.pop("evidence"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told(saved: Path, damage: Callable[[dict[str, Any]], None]) -> None:
    altered(saved, damage)
    with pytest.raises(ClientError) as caught:
        archive.load(saved)
    assert caught.value.code in (Exit.USAGE, Exit.EVIDENCE_MALFORMED)


def test_a_file_may_be_as_large_as_its_limit(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "LARGEST_FILE", saved.stat().st_size)
    assert archive.load(saved).body
    monkeypatch.setattr(archive, "LARGEST_FILE", saved.stat().st_size - 1)
    with pytest.raises(UsageError, match="is not a saved answer"):
        archive.load(saved)


def test_the_largest_question_can_be_saved() -> None:
    question = 20 << 20
    assert len(base64.b64encode(bytes(question))) < archive.LARGEST_FILE // 2


@pytest.mark.parametrize("is_old", [False, True])
def test_answers_of_gateways_of_both_versions_are_proven(is_old: bool, tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    with StandInGateway() as gateway, ObliviousClient(gateway.url, policy=ALLOWED) as client:
        gateway.faults.is_old = is_old
        whole = client.chat("What is the capital of France?", model=MODEL)
        stream = client.stream("What is the capital of France?", model=MODEL)
        assert "".join(stream) == whole.text
        for answer in (whole, stream.answer):
            archive.save(path, answer)
            signed = archive.verify(archive.load(path), ALLOWED).signed
            assert signed == answer.signed
            known = (1, Algorithm.RSA) if is_old else (2, Algorithm.ED25519)
            assert (signed.version, signed.algorithm) == known


ALTERATIONS: list[Callable[[dict[str, Any]], None]] = [
    lambda answer: answer.update(model="a larger one"),
    lambda answer: answer["choices"][0].update(finish_reason="length"),
    lambda answer: answer["choices"][0].update(index=1),
    lambda answer: answer["choices"][0]["message"].update(refusal="I will not."),
    lambda answer: answer["choices"][0]["message"].update(reasoning_content="As I was told."),
    lambda answer: answer["choices"][0].update(text="another answer beside"),
    lambda answer: answer.pop("tee_signature_version"),
    lambda answer: answer.update(tee_signature_algorithm="rsa-pss-sha256"),
]


@pytest.mark.parametrize("alter", ALTERATIONS)
def test_nothing_that_is_signed_can_be_altered(
    saved: Path, alter: Callable[[dict[str, Any]], None]
) -> None:
    altered(saved, lambda stored: alter(stored["answer"]))
    with pytest.raises(ClientError) as caught:
        archive.verify(archive.load(saved), ALLOWED)
    assert caught.value.code is Exit.ANSWER_SIGNATURE


def test_an_altered_answer_is_not_proven(saved: Path) -> None:
    altered(saved, lambda stored: stored["answer"]["choices"][0]["message"].update(content="Lyon"))
    with pytest.raises(AnswerUnproven):
        archive.verify(archive.load(saved), ALLOWED)


def test_an_answer_without_a_signature_is_not_proven(saved: Path) -> None:
    altered(saved, lambda stored: stored["answer"].pop("tee_signature"))
    with pytest.raises(EvidenceRefused, match="carries no signature") as caught:
        archive.verify(archive.load(saved), ALLOWED)
    assert caught.value.code is Exit.ANSWER_SIGNATURE


def test_an_answer_may_come_as_late_as_a_gateway_waits(saved: Path) -> None:
    archived = archive.load(saved)
    made = ALLOWED.inspect(archived.evidence, now=time.time()).attestation.timestamp / 1000
    latest = int(made) + MAX_AGE_SECONDS + archive.LONGEST_ANSWER_SECONDS
    for timestamp, code in ((latest - 1, Exit.ANSWER_SIGNATURE), (latest, Exit.STALE)):
        late = replace(archived, body={**archived.body, "tee_timestamp": timestamp})
        with pytest.raises(ClientError) as caught:
            archive.verify(late, ALLOWED)
        assert caught.value.code is code  # before that, only the altered time is at fault
