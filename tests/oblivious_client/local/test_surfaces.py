"""The resources: every surface that the gateway speaks, at one path each."""

import pytest

from enclave_server.chat.service import ASKED, COUNT_PATH, MODELS_PATH
from oblivious_client.local.surfaces import find


@pytest.mark.parametrize("path", [path.decode() for path in (*ASKED, COUNT_PATH)])
def test_whatever_the_gateway_is_asked_can_be_asked_here(path: str) -> None:
    resource = find(path)
    assert resource is not None
    assert (resource.path, resource.methods, resource.is_sealed) == (path, ("POST",), True)
    assert (resource.asked is None) is (path == COUNT_PATH.decode())


def test_models_can_be_got_and_so_can_one() -> None:
    for path in (MODELS_PATH.decode(), "/v1/models/a/b"):
        resource = find(path)
        assert resource is not None
        assert (resource.methods, resource.is_sealed, resource.asked) == (
            ("GET", "HEAD"),
            True,
            None,
        )
        assert resource.name == (path if path.endswith("models") else "/v1/models/*")


@pytest.mark.parametrize(
    ("path", "bare"),
    [
        *(("/", "/"), ("//", "/"), ("/health/", "/health"), ("/v1/models//", "/v1/models")),
        ("/v1/models/a/", "/v1/models/a"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
    ],
)
def test_slashes_at_the_end_do_not_count(path: str, bare: str) -> None:
    resource = find(path)
    assert resource is not None
    assert resource.path == bare


@pytest.mark.parametrize("path", ["/v1", "//v1/models", "/V1/models", "/v1/chat", "", "/stop2"])
def test_what_is_not_there(path: str) -> None:
    assert find(path) is None or path == ""


def test_what_is_not_sealed_is_of_this_machine() -> None:
    for path in ("/", "/evidence", "/health", "/stop"):
        resource = find(path)
        assert resource is not None
        assert not resource.is_sealed
