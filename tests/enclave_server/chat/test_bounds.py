"""Bounds: the defaults that documents promise, and what is no bound."""

from dataclasses import fields, replace

import pytest

from enclave_server.chat.bounds import MOST_LOGIT_BIAS, PROVIDER, Bounds


def test_the_defaults_are_those_that_providers_get() -> None:
    assert Bounds() == PROVIDER
    assert {each.name: getattr(PROVIDER, each.name) for each in fields(Bounds)} == {
        "text_bytes": 20_971_520,
        "messages": 16_384,
        "choices": 128,
        "tools": 128,
        "images": 128,
        "schema_nodes": 32_768,
        "schema_depth": 64,
        "logit_bias": 1_024,
        "stop_bytes": 4_096,
        "grammar_rules": 0,
    }


@pytest.mark.parametrize("name", [each.name for each in fields(Bounds)])
def test_a_bound_may_be_nought_and_not_less(name: str) -> None:
    assert getattr(replace(PROVIDER, **{name: 0}), name) == 0
    with pytest.raises(ValueError, match=f"limit {name} must not be negative"):
        replace(PROVIDER, **{name: -1})


def test_no_model_takes_more_biases_than_are_looked_at() -> None:
    assert Bounds(logit_bias=MOST_LOGIT_BIAS).logit_bias == MOST_LOGIT_BIAS
    with pytest.raises(ValueError, match=f"logit_bias must be at most {MOST_LOGIT_BIAS}"):
        Bounds(logit_bias=MOST_LOGIT_BIAS + 1)
