"""How freely a model chooses, in the range that its provider takes."""

import pytest

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.sampling import further_sampling, temperature_of, top_p_of
from enclave_server.chat.errors import ChatError
from enclave_server.chat.profiles import Profile, Range


def asked(**wishes: object) -> Conversation:
    return Conversation(model="m", messages=[], **wishes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reach", "value", "told"),
    [
        ("two", None, None),
        ("two", 0.0, 0.0),
        ("two", 2.0, 2.0),
        ("one", 1.0, 1.0),
        ("none", None, None),
        ("none", 1.0, None),
    ],
)
def test_temperature_is_told_in_its_range(
    reach: Range, value: float | None, told: float | None
) -> None:
    assert temperature_of(asked(temperature=value), Profile(temperature=reach)) == told


@pytest.mark.parametrize(
    ("reach", "value", "advice"),
    [("one", 1.5, "0 to 1"), ("two", 2.5, "0 to 2"), ("none", 0.0, "1 alone")],
)
def test_temperature_out_of_range_is_refused_with_the_range(
    reach: Range, value: float, advice: str
) -> None:
    with pytest.raises(ChatError) as caught:
        temperature_of(asked(temperature=value), Profile(temperature=reach))
    assert (caught.value.status, caught.value.param) == (400, "temperature")
    assert advice in caught.value.message


def test_share_of_likely_tokens() -> None:
    assert top_p_of(asked(top_p=0.5), Profile()) == 0.5
    assert top_p_of(asked(top_p=1.0), Profile(temperature="none")) is None
    with pytest.raises(ChatError):
        top_p_of(asked(top_p=0.5), Profile(temperature="none"))


def test_further_fields_are_told_in_the_providers_words_or_refused() -> None:
    words = {"top_k": "topK"}
    assert further_sampling(asked(), words) == further_sampling(asked(sampling={}), words) == {}
    assert further_sampling(asked(sampling={"top_k": 3}), words) == {"topK": 3}
    with pytest.raises(ChatError) as caught:
        further_sampling(asked(sampling={"top_k": 3, "min_p": 0.1}), words)
    assert (caught.value.status, caught.value.param) == (400, "min_p")
