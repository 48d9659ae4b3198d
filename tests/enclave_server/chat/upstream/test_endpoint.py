"""What follows from where an upstream is."""

import pytest

from enclave_server.addresses import TcpAddress, VsockAddress
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.chat.upstream.trust import ssl_context
from tests.support.upstream_connection import NAME, upstream_at


@pytest.mark.parametrize(
    ("address", "host_name", "tls_name", "authority"),
    [
        ("unix:/x", None, None, "localhost"),
        ("unix:/x", NAME, NAME, NAME),
        ("tcp://127.0.0.1:8080", None, None, "127.0.0.1:8080"),
        ("tcp://[::1]:8080", None, None, "[::1]:8080"),
        ("tcp://localhost:8080", None, None, "localhost:8080"),
        ("tcp://127.0.0.1:8080", NAME, NAME, NAME),
        ("tcp://api.example.org:443", None, "api.example.org", "api.example.org:443"),
        ("tcp://10.0.0.1:443", None, "10.0.0.1", "10.0.0.1:443"),
        ("tcp://localhost.example.org:443", NAME, NAME, NAME),
        ("vsock://3:8001", NAME, NAME, NAME),
    ],
)
def test_everything_but_the_local_is_encrypted(
    address: str, host_name: str | None, tls_name: str | None, authority: str
) -> None:
    upstream = upstream_at(address, host_name=host_name)
    assert (upstream.tls_name, upstream.authority) == (tls_name, authority)
    context = ssl_context(upstream)
    assert (context is None) == (tls_name is None)
    if context is not None:
        assert context.check_hostname
        assert context.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(
    ("changes", "of_stream", "of_whole"),
    [
        ({}, 300, 1800),
        ({"total_seconds": 5}, 300, 5),
        ({"first_byte_seconds": 7}, 7, 7),
    ],
)
def test_the_head_of_a_whole_answer_may_take_the_whole_time(
    changes: dict[str, float], of_stream: float, of_whole: float
) -> None:
    upstream = upstream_at("unix:/x", **changes)
    assert upstream.head_seconds(is_stream=True) == of_stream
    assert upstream.head_seconds(is_stream=False) == of_whole


def test_an_exchange_ends_with_its_connection_unless_the_upstream_tells() -> None:
    assert not upstream_at("unix:/x").tells_its_end


def test_misconfigured_upstreams_are_value_errors() -> None:
    with pytest.raises(ValueError, match="host_name"):
        Upstream("u", VsockAddress(3, 8001))
    with pytest.raises(ValueError, match="path_prefix"):
        Upstream("u", TcpAddress("127.0.0.1", 1), path_prefix="/v1\r\nX: y")
    model = Model("m", upstream_at("unix:/x"), "m")
    with pytest.raises(ValueError, match="same name"):
        ModelTable((model, model))
