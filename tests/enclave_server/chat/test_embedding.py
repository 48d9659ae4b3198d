"""What is asked of a model of embeddings says how many answers there must be."""

import pytest

from enclave_server.chat.embedding import Embedding, Wanted


@pytest.mark.parametrize(
    ("entries", "count"), [(["a"], 1), (["a", "a", "b"], 3), ([[1, 2, 3]], 1), ([[1], [2]], 2)]
)
def test_each_entry_is_an_answer(entries: list[str] | list[list[int]], count: int) -> None:
    question = Embedding(model="m", entries=entries, encoding="base64")
    assert question.wanted == Wanted(count, "base64")
