"""What passes between processes: work and results become the same as in one process."""

import hashlib
import json
from typing import Any

import pytest

from enclave_server.chat.elsewhere import (
    decode_counted,
    decode_prepared,
    decode_written,
    do,
    encode_job,
    encode_said,
    encode_uncounted,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.finishing import finish
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.preparing import count, prepare
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
