"""Whole answers of the Responses API: OpenAI's types read them, and so does our own dialect."""

import json
from typing import Any

import pytest
from openai.types.responses import Response

from enclave_server.chat.conversation import (
    Answer,
    Call,
    Choice,
    Function,
    Logprobs,
    PartState,
    Reply,
    State,
    TokenLogprob,
    TopLogprob,
    Usage,
    UsageDetails,
)
from enclave_server.chat.dialects.openai_responses.answers import read_answer
from enclave_server.chat.surfaces.responses import Responses
from enclave_server.chat.surfaces.responses_states import unseal
from enclave_server.chat.surfaces.responses_writing import (
    ended,
    items_of,
    status_of,
    usage_object,
)
from enclave_server.chat.surfaces.surface import Identity
from tests.support.meanings import meaning_of

IDENTITY = Identity("resp_abc", 7, "m", "upstream")
CALLS = [Call("c1", Function("f", '{"a":1}')), Call("c2", Function("f", "{}"))]
LIKELY = Logprobs(content=[TokenLogprob("Wet", -0.5, [87], [TopLogprob("Dry", -1.5, [68])])])

ANSWERS = {
    "text": (Reply(content="Wet."), "stop"),
    "nothing": (Reply(content=""), "stop"),
    "thoughts": (Reply(content="Wet.", reasoning_content="Rain, so"), "stop"),
    "a refusal": (Reply(refusal="No."), "stop"),
    "calls": (Reply(tool_calls=CALLS), "tool_calls"),
    "text and calls": (Reply(content="I look.", tool_calls=CALLS), "tool_calls"),
    "a limit": (Reply(content="We"), "length"),
    "a filter": (Reply(content=""), "content_filter"),
}


def written(reply: Reply, reason: str, **more: Any) -> dict[str, Any]:
    usage = Usage(3, 4, 7, UsageDetails(2))
    answer = Answer([Choice(0, reply, finish_reason=reason, **more)], usage)
    return ended(IDENTITY, reason, items_of(answer, IDENTITY), usage)


@pytest.mark.parametrize("case", ANSWERS)
def test_answer_means_what_it_meant(case: str) -> None:
    reply, reason = ANSWERS[case]
    body = json.dumps(written(reply, reason)).encode()
    assert (
        json.loads(Response.model_validate_json(body).model_dump_json()).items()
        >= {
            "id": "resp_abc",
            "model": "m",
            "status": status_of(reason),
        }.items()
    )
    meant = Answer([Choice(0, reply, finish_reason=reason)], Usage(3, 4, 7, UsageDetails(2)))
    assert meaning_of(read_answer(body)) == meaning_of(meant)


def test_likelihoods_stand_beside_their_text() -> None:
    ((part,),) = [
        item["content"] for item in written(Reply(content="Wet"), "stop", logprobs=LIKELY)["output"]
    ]
    assert part["logprobs"] == [
        {
            "token": "Wet",
            "logprob": -0.5,
            "bytes": [87],
            "top_logprobs": [{"token": "Dry", "logprob": -1.5, "bytes": [68]}],
        }
    ]


def test_items_are_named_after_their_answer_each_for_itself() -> None:
    output = written(*ANSWERS["text and calls"])["output"]
    assert [item["id"] for item in output] == ["msg_abc0001", "fc_abc0002", "fc_abc0003"]
    assert {item["status"] for item in output} == {"completed"}
    (item,) = written(*ANSWERS["a limit"])["output"]
    assert item["status"] == "incomplete"


def test_function_in_a_namespace_is_called_by_its_own_name() -> None:
    calls = [Call("c", Function("agents__ns__f", "{}"))]
    (item,) = written(Reply(tool_calls=calls), "tool_calls")["output"]
    assert (item["namespace"], item["name"]) == ("agents", "f")


def test_states_are_in_items_of_reasoning() -> None:
    states = (PartState(0, State("d", b"of a call"), 1), PartState(0, State("d", b"of all")))
    reply = Reply(content="I look.", tool_calls=CALLS, reasoning_content="Hm")
    items = items_of(Answer([Choice(0, reply)], None, states), IDENTITY)
    assert [item["type"] for item in items] == [
        "reasoning",
        "message",
        "function_call",
        "reasoning",
        "function_call",
    ]
    sealed = [unseal(item["encrypted_content"]) for item in items if "encrypted_content" in item]
    assert [(call, state.value) for call, state in sealed] == [(None, b"of all"), (1, b"of a call")]
    assert all(state.origin == ("upstream", "m") for _, state in sealed)


@pytest.mark.parametrize(
    ("usage", "thought"),
    [(Usage(3, 4, 7), 0), (Usage(3, 4, 7, None), 0), (Usage(3, 4, 7, UsageDetails(2)), 2)],
)
def test_tokens_are_counted_without_what_was_cached(usage: Usage, thought: int) -> None:
    assert usage_object(usage) == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": 7,
    }


def test_of_several_answers_the_first_is_told() -> None:
    choices = [
        Choice(0, Reply(content="We"), finish_reason="length"),
        Choice(1, Reply(content="b")),
    ]
    body = json.loads(Responses().write(Answer(choices), IDENTITY, {}))
    assert body["status"] == "incomplete"
    (item,) = body["output"]
    assert [part["text"] for part in item["content"]] == ["We"]
