"""What a question costs: the same at both ends, whatever is asked."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.embedding import Embedding
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.preparing import EMBEDDINGS, SURFACES, Job, prepare
from enclave_server.chat.pricing import asked, budgeted, price_of
from protocol.token_asked import read_asked
from protocol.token_prices import Budget, PricePoint, Tariff
from tests.support.chat_service import NOWHERE
from tests.support.minting import TARIFF
from tests.support.paid_service import PATHS, QUESTIONS
from tests.support.private_tokens import PRICES

C1, C4, C16, C64 = PRICES
REQUESTS = 10_000
PNG = "iVBORw0KGgoAAAANSUhEUgAA"
PDF = "JVBERi0xLjQK" + "A" * 32
Random = random.Random


def some(chance: Random, *values: Any) -> Any:
    return chance.choice(values)


def words(chance: Random) -> str:
    return "".join(chance.choices('aé語🙂 \\"\n\x7f', k=chance.randrange(60)))


def maybe(chance: Random, **members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if chance.random() < 0.5}


def tool(chance: Random) -> dict[str, Any]:
    return {"name": "look", "description": words(chance), "parameters": {"type": "object"}}


def chat_part(chance: Random) -> dict[str, Any]:
    url = f"data:image/png;base64,{PNG}"
    shown: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    file = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}}
    return chance.choice([{"type": "text", "text": words(chance)}, shown, file])


def chat_body(chance: Random) -> dict[str, Any]:
    parts = [chat_part(chance) for _ in range(chance.randrange(1, 5))]
    said = some(chance, words(chance), parts)
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": words(chance)},
        {"role": "user", "content": said, "name": "who"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": words(chance)},
        {"role": "user", "content": [chat_part(chance)], "id": "dropped"},
    ]
    limit = maybe(chance, **{some(chance, "max_tokens", "max_completion_tokens"): amount(chance)})
    return {
        "messages": messages,
        **limit,
        **maybe(
            chance,
            n=chance.randrange(1, 9),
            user="dropped",
            metadata={"n": 5},
            tools=[{"type": "function", "function": tool(chance)}],
            stop=[words(chance) or "."],
            stream=False,
            temperature=1,
        ),
    }


def amount(chance: Random) -> int:
    return int(2 ** chance.uniform(0, 15))


def completion_body(chance: Random) -> dict[str, Any]:
    count = chance.randrange(1, 5)
    n = chance.randrange(1, 5)
    prompt = some(
        chance,
        words(chance),
        [words(chance) for _ in range(count)],
        [chance.randrange(9) for _ in range(count)],
        [[chance.randrange(9)] for _ in range(count)],
    )
    members = maybe(chance, n=n, max_tokens=amount(chance), echo=True, user="dropped")
    best = {"best_of": n + chance.randrange(3)} if members.get("n") else {}
    return {"prompt": prompt, **members, **maybe(chance, **best)}


def block(chance: Random) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    text = {"type": "text", "text": words(chance) or "."}
    shown: dict[str, Any] = {"type": "image", "source": source}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    plain = {"type": "text", "media_type": "text/plain", "data": words(chance) or "."}
    document = {"type": "document", "source": some(chance, pdf, plain)}
    return chance.choice([text, shown, document])


def messages_body(chance: Random) -> dict[str, Any]:
    use = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block(chance), block(chance)]}
    return {
        "max_tokens": amount(chance),
        "messages": [
            {"role": "user", "content": some(chance, "hello", [block(chance)])},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result, block(chance)]},
        ],
        **maybe(chance, system=words(chance), metadata={"user_id": "dropped"}),
    }


def item_part(chance: Random) -> dict[str, Any]:
    url = f"data:image/png;base64,{PNG}"
    text = {"type": "input_text", "text": words(chance)}
    file = {"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}"}
    return chance.choice([text, {"type": "input_image", "image_url": url}, file])


def responses_body(chance: Random) -> dict[str, Any]:
    call = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": [item_part(chance)]}
    items = [{"role": "user", "content": [item_part(chance), item_part(chance)]}, call, result]
    said = some(chance, words(chance), items)
    return {
        "input": said,
        **maybe(chance, max_output_tokens=amount(chance), instructions=words(chance), store=False),
    }


def embedding_body(chance: Random) -> dict[str, Any]:
    said = some(chance, words(chance), [words(chance), words(chance)], [1, 2], [[1], [2]])
    return {"input": said, **maybe(chance, dimensions=3, user="dropped")}


BODIES: dict[bytes, Callable[[Random], dict[str, Any]]] = dict(
    zip(
        PATHS,
        (chat_body, completion_body, messages_body, responses_body, embedding_body),
        strict=True,
    )
)


def some_tariff(chance: Random) -> Tariff:
    """Return a tariff that some of the requests fit and some do not."""
    octets, tokens, images = (chance.randrange(1, most) for most in (2000, 3000, 3))
    budgets = {
        PricePoint(4**step): Budget(octets * 3**step, tokens * 3**step, images * step)
        for step in range(4)
    }
    return Tariff(budgets, chance.randrange(3000))


def prepared_price(models: ModelTable, path: bytes, content: bytes) -> int | str | None:
    """Return what the enclave says that a request costs, or the code of its refusal."""
    try:
        return prepare(models, Job(path, content, may_stream=False), lambda name: Account()).price
    except ChatError as error:
        return error.code


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.decode())
def test_both_ends_compute_one_price(path: bytes) -> None:
    chance = Random(str(path))
    prices = set()
    for _ in range(REQUESTS // len(PATHS)):
        model = QUESTIONS[path]["model"]
        body = {"model": model, **BODIES[path](chance)}
        separators = some(chance, (",", ":"), (", ", ": "))
        text = json.dumps(body, ensure_ascii=chance.random() < 0.5, separators=separators)
        content = text.encode()
        tariff = some_tariff(chance)
        models = ModelTable(
            (Model(model, NOWHERE, "there", embeddings=model == "e", tariff=tariff),)
        )
        named, counted = read_asked(path.decode(), content)
        price = tariff.price(tariff.need(counted))
        prices.add(price)
        assert named == model
        assert prepared_price(models, path, content) == (
            "budget_exceeded" if price is None else price.units
        )
    assert len(prices) >= 4  # all but one of the four, and none at all


def test_a_question_is_counted_in_its_neutral_form() -> None:
    for path, surface in [*SURFACES.items(), (PATHS[4], EMBEDDINGS)]:
        content = json.dumps(QUESTIONS[path]).encode()
        question = surface.read(content)  # type: ignore[attr-defined]
        assert asked(question, len(content)) == read_asked(path.decode(), content)[1]


def question(**members: Any) -> Any:
    body = {**QUESTIONS[PATHS[0]], **members}
    return SURFACES[PATHS[0]].read(json.dumps(body).encode())


def model(**members: Any) -> Model:
    return Model("m", NOWHERE, "there", **{"tariff": TARIFF, **members})


def test_what_is_free_has_no_price() -> None:
    assert price_of(question(), 10**9, model(tariff=Tariff({}))) is None
    assert budgeted(question(), model(tariff=Tariff({})), None) == question()


@pytest.mark.parametrize(
    ("price", "members", "limits", "expected"),
    [
        (C1, {}, {}, 512),
        (C16, {}, {}, 512 * 16),
        (C16, {"n": 3}, {}, 512 * 16 // 3),
        (PricePoint(8), {}, {}, 512 * 4),  # no budget of its own
        (C64, {}, {"output_limit": 4096}, 4096),
        (C1, {}, {"output_limit": 4096}, 512),
        (C16, {"max_tokens": 5}, {}, 5),
    ],
)
def test_who_names_no_limit_gets_what_the_token_buys(
    price: PricePoint, members: dict[str, Any], limits: dict[str, Any], expected: int
) -> None:
    assert budgeted(question(**members), model(**limits), price).max_tokens == expected


def test_a_limit_by_its_newer_name_stays() -> None:
    wanted = question(max_completion_tokens=5)
    assert budgeted(wanted, model(), C1) == wanted


def test_embeddings_cost_their_octets_alone() -> None:
    embedding = Embedding(model="e", entries=["a"] * 9)
    assert price_of(embedding, 8192, model()) == C1
    assert price_of(embedding, 8193, model()) == C4
    with pytest.raises(ChatError) as caught:
        price_of(embedding, 8192 * 64 + 1, model())
    assert caught.value.param == "input"


@pytest.mark.parametrize(
    ("path", "members", "octets", "param"),
    [
        (PATHS[0], {"max_tokens": 512 * 64 + 1}, 10, "max_tokens"),
        (PATHS[0], {"max_completion_tokens": 512 * 64 + 1}, 10, "max_completion_tokens"),
        (PATHS[0], {"max_tokens": 512 * 64}, 8192 * 64 + 1, "messages"),
        (PATHS[0], {}, 8192 * 64 + 1, "messages"),
        (PATHS[1], {"max_tokens": 512 * 64 + 1}, 10, "max_tokens"),
        (PATHS[1], {"n": 128, "best_of": 128, "max_tokens": 512}, 10, "max_tokens"),
        (PATHS[1], {}, 8192 * 64 + 1, "prompt"),
    ],
)
def test_what_is_too_large_is_named(
    path: bytes, members: dict[str, Any], octets: int, param: str
) -> None:
    wanted: Any = SURFACES[path].read(json.dumps({**QUESTIONS[path], **members}).encode())
    with pytest.raises(ChatError) as caught:
        price_of(wanted, octets, model())
    assert (caught.value.param, caught.value.code) == (param, "budget_exceeded")
