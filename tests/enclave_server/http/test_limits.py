"""Limits: none can be such that it stops every request."""

import dataclasses

import pytest

from enclave_server.http.limits import Limits


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_no_limit_can_be_zero(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: 0})
