"""What passes between processes: work and results become the same as in one process."""

import hashlib
import json
from typing import Any

import pytest

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.elsewhere import (
    Ended,
    Large,
    decode_counted,
    decode_prepared,
    decode_reading,
    decode_signed,
    decode_written,
    do,
    encode_ended,
    encode_job,
    encode_large,
    encode_said,
    encode_uncounted,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.finishing import finish
from enclave_server.chat.large import decode_slice
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.preparing import count, prepare
from enclave_server.chat.spoken import Spoken, SpokenCall
from protocol.signature import Algorithm, verify_choices
from tests.enclave_server.chat.test_finishing import CASES, said
from tests.enclave_server.chat.test_preparing import ACCOUNT, TAKEN, job
from tests.support.chat_service import KEYS, NOWHERE, TABLE, chat

REFUSED: dict[str, dict[str, Any]] = {
    "no such model": chat(model="other"),
    "no such field": chat(other=1),
    "tools": chat(model="plain", tools=[{"type": "function", "function": {"name": "f"}}]),
    "too many answers": chat(model="plain", n=3),
    "a key is missing": chat(model="keyless"),
}
KEYLESS = ModelTable((*TABLE.models, Model("keyless", NOWHERE, "there")))


@pytest.mark.parametrize("case", TAKEN)
def test_elsewhere_a_request_becomes_the_same(case: str) -> None:
    wanted = job(*TAKEN[case])
    here = prepare(TABLE, wanted, lambda name: ACCOUNT)
    there = do(TABLE, KEYS, encode_job(wanted, {"nowhere": ACCOUNT}))
    assert decode_prepared(there) == here
    assert here.request_hash == hashlib.sha256(wanted.content).digest()
    assert (b"Authorization", b"Bearer key") in here.request.fields


@pytest.mark.parametrize("case", REFUSED)
def test_elsewhere_a_request_is_refused_alike(case: str) -> None:
    wanted = job(b"/v1/chat/completions", REFUSED[case])
    account = None if case == "a key is missing" else ACCOUNT
    with pytest.raises(ChatError) as here:
        prepare(KEYLESS, wanted, lambda name: account)
    with pytest.raises(ChatError) as there:
        decode_prepared(do(KEYLESS, KEYS, encode_job(wanted, {"nowhere": account})))
    assert there.value.response() == here.value.response()


def test_elsewhere_tokens_are_counted_alike() -> None:
    content = json.dumps(chat(model="plain")).encode()
    there = decode_counted(do(TABLE, KEYS, encode_uncounted(content)))
    assert there == count(TABLE, content) > 0
    with pytest.raises(ChatError) as caught:
        decode_counted(do(TABLE, KEYS, encode_uncounted(b"[]")))
    assert caught.value.status == 400


@pytest.mark.parametrize("case", CASES)
def test_elsewhere_an_answer_becomes_the_same(case: str) -> None:
    wanted = said(*CASES[case])
    here = json.loads(finish(TABLE, KEYS, wanted))
    there = json.loads(decode_written(do(TABLE, KEYS, encode_said(wanted))))
    assert here.keys() == there.keys()
    # RSA-PSS is salted: no two of its signatures are alike.
    signatures = {here.pop("tee_signature"), there.pop("tee_signature")}
    assert len(signatures) == 2
    assert here == there


def test_elsewhere_an_answer_that_is_none_fails_alike() -> None:
    wanted = said(b"/v1/chat/completions", "conversation", {"choices": []})
    with pytest.raises(ChatError) as here:
        finish(TABLE, KEYS, wanted)
    with pytest.raises(ChatError) as there:
        decode_written(do(TABLE, KEYS, encode_said(wanted)))
    assert there.value.response() == here.value.response()
    assert there.value.status == 502


def test_one_result_is_not_taken_for_the_other() -> None:
    prepared = do(TABLE, KEYS, encode_job(job(*TAKEN["chat"]), {"nowhere": ACCOUNT}))
    written = do(TABLE, KEYS, encode_said(said(*CASES["chat"])))
    with pytest.raises(TypeError):
        decode_written(prepared)
    with pytest.raises(TypeError):
        decode_prepared(written)


def large(said: dict[str, Any]) -> Large:
    """Return what a worker passes on of an event that is too large for it."""
    reader = find_dialect("openai-chat").stream(Conversation)
    reader.largest = 10
    (event,) = reader.feed(b"data: " + json.dumps(said).encode() + b"\n\n")
    assert event.large is not None
    return Large("openai-chat", "conversation", reader.save(), event.large)


def test_elsewhere_an_event_says_the_same_and_the_state_goes_on() -> None:
    choice = {"index": 0, "delta": {"content": "x" * 40_000}, "finish_reason": None}
    reading = decode_reading(do(TABLE, KEYS, encode_large(large({"choices": [choice]}))))
    said = [decode_slice(each) for each in reading.slices]
    texts = [part.delta.content or "" for each in said for part in each.choices]
    assert len(texts) == 2
    assert "".join(texts) == "x" * 40_000
    assert reading.fault is None
    find_dialect("openai-chat").stream(Conversation).restore(reading.state)


def test_elsewhere_a_fault_is_found_alike() -> None:
    broken = large({"error": {"message": "wait", "code": 429}})
    reading = decode_reading(do(TABLE, KEYS, encode_large(broken)))
    assert reading.slices == []
    assert reading.fault is not None
    assert reading.fault.error().status == 429


@pytest.mark.parametrize("algorithm", [None, Algorithm.ED25519])
def test_elsewhere_a_stream_is_signed_at_its_own_time(algorithm: Algorithm | None) -> None:
    digest = hashlib.sha256(b"the request").digest()
    empty = bytearray()
    spoken = Spoken(0, bytearray(b"Paris."), empty, empty, [], "stop")
    ended = Ended(digest, "m", algorithm, 2, 1_700_000_000, [spoken])
    members = decode_signed(do(TABLE, KEYS, encode_ended(ended)))
    body = {**members, "model": "m"}
    found = verify_choices(KEYS.public_keys, b"the request", [spoken.output()], body)
    assert (found.timestamp, found.algorithm) == (1_700_000_000, algorithm or Algorithm.RSA)
    wrong = Spoken(0, empty, empty, empty, [SpokenCall("c", "f", bytearray(b"{"))], "stop")
    with pytest.raises(ChatError):
        decode_signed(do(TABLE, KEYS, encode_ended(Ended(digest, "m", None, 2, 1, [wrong]))))


def test_no_result_is_taken_for_another() -> None:
    written = do(TABLE, KEYS, encode_said(said(*CASES["chat"])))
    counted = do(TABLE, KEYS, encode_uncounted(json.dumps(chat(model="plain")).encode()))
    decoders: list[Any] = [decode_prepared, decode_counted, decode_reading, decode_signed]
    for decode in decoders:
        with pytest.raises(TypeError):
            decode(written)
    with pytest.raises(TypeError):
        decode_written(counted)
