"""Addresses of proxies."""

import pytest

from oblivious_client.proxies import proxy_address


@pytest.mark.parametrize("text", ["http://p", "https://p:3128", "http://name:word@p:1"])
def test_a_proxy_has_an_address(text: str) -> None:
    assert proxy_address(text) == text


@pytest.mark.parametrize("text", ["", "p:1", "socks5://p", "http://", "http://p:0", "http://p:x"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - argparse's own, whatever the text
        proxy_address(text)
