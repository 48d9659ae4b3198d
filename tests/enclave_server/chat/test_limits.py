"""What a model cannot do is refused, and the field that asks for it named."""

from dataclasses import fields, replace
from typing import Any

import pytest

from enclave_server.chat.bounds import Bounds
from enclave_server.chat.conversation import (
    AnyObject,
    AnyQuestion,
    Continuation,
    Conversation,
    File,
    Image,
    Message,
    ObjectOf,
    Text,
    Tool,
)
from enclave_server.chat.embedded import embedded_model
from enclave_server.chat.embedding import Embedding
from enclave_server.chat.errors import ChatError
from enclave_server.chat.limits import UNITS, check, check_embedding
from enclave_server.chat.models import Model
from enclave_server.chat.profiles import PLAIN
from tests.support.upstream_connection import upstream_at

MODEL = Model("m", upstream_at("unix:/x"), "m", tools=False, images=False, bounds=Bounds(choices=2))
ABLE = Model("m", upstream_at("unix:/x"), "m")
HELLO = [Message("user", "Hello")]
SHOWN = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUg=="

BEYOND: dict[str, AnyQuestion] = {
    "n": Conversation(model="m", messages=HELLO, n=3),
    "tools": Conversation(model="m", messages=HELLO, tools=[Tool("f")]),
    "messages": Conversation(model="m", messages=[Message("user", [Image(SHOWN)])]),
}


@pytest.mark.parametrize("param", BEYOND)
def test_what_a_model_cannot_do_is_refused(param: str) -> None:
    with pytest.raises(ChatError) as caught:
        check(BEYOND[param], MODEL)
    assert (caught.value.status, caught.value.param) == (400, param)
    check(BEYOND[param], ABLE)


def test_prompts_are_held_against_the_same_limit() -> None:
    check(Continuation(model="m", prompt="x", n=2), MODEL)
    with pytest.raises(ChatError):
        check(Continuation(model="m", prompt="x", n=3), MODEL)


EMBEDDED_MODEL = embedded_model("m", "/run/engine.sock", None)


def hello(**fields: Any) -> Conversation:
    return Conversation(model="m", messages=HELLO, **fields)


def continued(prompt: Any = "x", **fields: Any) -> Continuation:
    return Continuation(model="m", prompt=prompt, **fields)


def described(schema: dict[str, Any]) -> Conversation:
    return hello(response_format=ObjectOf("a", schema=schema))


def nested(depth: int) -> dict[str, Any]:
    """Return a schema of twice that depth in JSON."""
    return {} if depth == 1 else {"properties": {"p": nested(depth - 1)}}


def properties(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(count)}}


# What one request did to the embedded engine, or would; each with the field that it is refused for.
HARMFUL: list[tuple[str, AnyQuestion]] = [
    ("response_format", described(properties(30_000))),
    ("response_format", described(properties(2_000))),
    ("response_format", described({"enum": [str(number) for number in range(900)]})),
    ("prompt", continued(["x"] * 3_000)),
    ("prompt", continued([[1]] * 3_000)),
    ("best_of", continued(best_of=20)),
    ("prompt", continued("a " * 9_500_000)),
    ("messages", Conversation(model="m", messages=[Message("user", "a " * 9_500_000)])),
    ("messages", Conversation(model="m", messages=[Message("user", "")] * 3_000)),
    ("messages", Conversation(model="m", messages=[Message("user", [Text("")] * 3_000)])),
    ("logit_bias", hello(logit_bias={str(token): 1.0 for token in range(49_000)})),
    ("stop", hello(stop="x" * 1_000_000)),
    ("stop", continued(stop=["x" * 1_000_000] * 16)),
]


@pytest.mark.parametrize(
    ("param", "question"),
    HARMFUL,
    ids=[f"{index}-{param}" for index, (param, _) in enumerate(HARMFUL)],
)
def test_work_without_measure_is_refused_before_it_is_begun(
    param: str, question: AnyQuestion
) -> None:
    with pytest.raises(ChatError) as caught:
        check(question, EMBEDDED_MODEL)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert f"'{param}'" in caught.value.message


@pytest.mark.parametrize(
    ("bound", "most", "more"),
    [
        ("text_bytes", continued("é" * 4), continued("é" * 4 + "x")),
        ("text_bytes", continued([1] * 8), continued([1] * 9)),
        ("text_bytes", continued("x" * 4, suffix="y" * 4), continued("x" * 4, suffix="y" * 5)),
        ("text_bytes", hello(), hello(tools=[Tool("f", "four")])),
        ("messages", hello(), Conversation(model="m", messages=HELLO * 9)),
        ("choices", hello(n=8), hello(n=9)),
        ("choices", continued(["x"] * 4, n=2), continued(["x"] * 4, best_of=3)),
        ("tools", hello(tools=[Tool("f")] * 8), hello(tools=[Tool("f")] * 9)),
        ("schema_nodes", described({"enum": [1] * 6}), described({"enum": [1] * 7})),
        ("schema_depth", described({"items": nested(4)}), described(nested(5))),
        (
            "logit_bias",
            hello(logit_bias=dict.fromkeys("12345678", 1.0)),
            hello(logit_bias=dict.fromkeys("123456789", 1.0)),
        ),
        ("stop_bytes", hello(stop=["x"] * 8), hello(stop=["x"] * 9)),
    ],
)
def test_each_bound_is_reached_and_not_passed(
    bound: str, most: AnyQuestion, more: AnyQuestion
) -> None:
    model = Model("m", upstream_at("unix:/x"), "m", bounds=replace(Bounds(), **{bound: 8}))
    check(most, model)
    with pytest.raises(ChatError) as caught:
        check(more, model)
    assert "limit of 8 " in caught.value.message


def test_every_bound_has_words_for_what_it_counts() -> None:
    assert UNITS.keys() == {field.name for field in fields(Bounds)}


@pytest.mark.parametrize(
    "option", [{"echo": True}, {"suffix": "x"}, {"best_of": 2}, {"best_of": 1, "n": 2}]
)
def test_what_the_engine_would_ignore_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ChatError) as caught:
        check(continued(**option), EMBEDDED_MODEL)
    assert caught.value.param in option
    check(continued(**option), ABLE)


@pytest.mark.parametrize("option", [{"echo": False}, {"best_of": 1}, {"best_of": 2, "n": 2}])
def test_what_changes_nothing_is_not_refused(option: dict[str, Any]) -> None:
    check(continued(**option), EMBEDDED_MODEL)


def profiled(**changes: Any) -> Model:
    return replace(ABLE, profile=replace(PLAIN, **changes))


DENIED: dict[str, tuple[AnyQuestion, Model, str]] = {
    "files": (
        Conversation(model="m", messages=[Message("user", [File("JVBERi0=")])]),
        replace(ABLE, files=False),
        "messages",
    ),
    "a schema": (described({}), replace(ABLE, structured_output=False), "response_format"),
    "an object": (
        hello(response_format=AnyObject()),
        replace(ABLE, structured_output=False),
        "response_format",
    ),
    "thinking": (hello(reasoning_effort="low"), replace(ABLE, reasoning=False), "reasoning_effort"),
    "an effort": (
        hello(reasoning_effort="max"),
        profiled(efforts=("low", "high")),
        "reasoning_effort",
    ),
    "any temperature": (hello(temperature=0.5), profiled(temperature="none"), "temperature"),
    "any top_p": (continued(top_p=0.5), profiled(temperature="none"), "top_p"),
    "a high temperature": (continued(temperature=1.5), profiled(temperature="one"), "temperature"),
    "top_k": (continued(sampling={"top_k": 5}), ABLE, "top_k"),
    "two limits": (hello(max_tokens=1, max_completion_tokens=2), ABLE, "max_completion_tokens"),
    "an image elsewhere": (
        Conversation(model="m", messages=[Message("user", [Text("a"), Image("https://x/y")])]),
        ABLE,
        "messages[0].content[1].image_url",
    ),
}


@pytest.mark.parametrize("case", DENIED)
def test_what_one_model_cannot_another_may(case: str) -> None:
    question, model, param = DENIED[case]
    with pytest.raises(ChatError) as caught:
        check(question, model)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_is_possible_is_allowed_and_said() -> None:
    check(hello(reasoning_effort="none"), replace(ABLE, reasoning=False))
    check(hello(temperature=1, top_p=1), profiled(temperature="none"))
    check(hello(temperature=1, reasoning_effort="low"), profiled(temperature="one"))
    check(hello(sampling={"top_k": 5}), replace(ABLE, sampling=frozenset({"top_k"})))
    check(DENIED["an image elsewhere"][0], profiled(remote_images=True))
    with pytest.raises(ChatError) as caught:
        check(hello(sampling={"min_p": 0.1}), replace(ABLE, sampling=frozenset({"top_k"})))
    assert "top_k" in caught.value.message
    with pytest.raises(ChatError) as caught:
        check(hello(reasoning_effort="max"), profiled(efforts=("low", "high")))
    assert "low, high" in caught.value.message


EMBEDDING = replace(ABLE, embeddings=True)


@pytest.mark.parametrize("question", [hello(), Continuation(model="m", prompt="x")])
def test_a_model_of_embeddings_answers_nothing_else(question: AnyQuestion) -> None:
    with pytest.raises(ChatError) as caught:
        check(question, EMBEDDING)
    assert (caught.value.status, caught.value.param) == (400, "model")


@pytest.mark.parametrize("model", [ABLE, EMBEDDED_MODEL])
def test_no_other_model_makes_embeddings(model: Model) -> None:
    check_embedding(Embedding(model="m", entries=["x"]), EMBEDDING)
    with pytest.raises(ChatError) as caught:
        check_embedding(Embedding(model="m", entries=["x"]), model)
    assert (caught.value.status, caught.value.param) == (400, "model")


@pytest.mark.parametrize(
    ("most", "more"),
    [
        (["x"] * 2, ["x"] * 3),
        ([[1], [2]], [[1], [2], [3]]),
        (["1234", "5678"], ["1234", "56789"]),
        (["ääää"], ["äääää"]),
        ([[1] * 4, [2] * 4], [[1] * 8, [2]]),
    ],
)
def test_embeddings_are_held_against_entries_octets_and_tokens(most: Any, more: Any) -> None:
    model = replace(EMBEDDING, bounds=Bounds(choices=2, text_bytes=8))
    check_embedding(Embedding(model="m", entries=most), model)
    with pytest.raises(ChatError) as caught:
        check_embedding(Embedding(model="m", entries=more), model)
    assert (caught.value.status, caught.value.param) == (400, "input")
