"""A function in a namespace has one name, from which both come back."""

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.responses_namespaces import apart, joined, refuse_ambiguous


@pytest.mark.parametrize(("namespace", "name"), [(None, "f"), ("agents", "f"), ("a_", "_f")])
def test_names_come_back(namespace: str | None, name: str) -> None:
    assert apart(joined(namespace, name)) == (namespace, name)


def test_name_that_has_what_stands_between_is_refused() -> None:
    refuse_ambiguous("agents__f", "tools[0]")
    with pytest.raises(ChatError) as caught:
        refuse_ambiguous("agents__ns__f", "tools[0]")
    assert caught.value.param == "tools[0].name"
