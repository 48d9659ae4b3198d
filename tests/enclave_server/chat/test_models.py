"""The table of models."""

import pytest

from enclave_server.chat.models import Model, ModelTable
from tests.support.upstream_connection import upstream_at

UPSTREAM = upstream_at("unix:/x")


def test_models_are_found_by_their_exact_names() -> None:
    models = Model("a", UPSTREAM, "a-there"), Model("b", UPSTREAM, "b-there")
    table = ModelTable(models)
    assert [table.find(name) for name in ("b", "a", "A", "a-there")] == [*models[::-1], None, None]


def test_of_whom_nothing_is_said_can_chat_in_every_way() -> None:
    model = Model("a", UPSTREAM, "a")
    assert model.tools
    assert model.images
    assert model.files
    assert model.reasoning
    assert model.structured_output
    assert model.completion_options
    assert not model.embeddings


def test_a_table_is_its_models() -> None:
    model = Model("a", UPSTREAM, "a")
    assert repr(ModelTable((model,))) == f"ModelTable(models=({model!r},))"
    assert ModelTable((model,)) == ModelTable((model,)) != ModelTable(())


def test_an_upstream_of_several_models_is_one() -> None:
    table = ModelTable((Model("a", UPSTREAM, "a"), Model("b", UPSTREAM, "b")))
    assert list(table.upstreams()) == [UPSTREAM]


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        ModelTable((Model("a", UPSTREAM, "a"), Model("a", UPSTREAM, "b")))
