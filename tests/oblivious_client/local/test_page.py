"""The page: nothing of it comes from elsewhere."""

import re

from oblivious_client.local.page import page


def test_the_page_has_no_external_resource() -> None:
    response = page()
    assert isinstance(response.body, bytes)
    html = response.body.decode()
    assert not re.findall(r"""(?:src|href|action)\s*=\s*["'](?!data:)|url\(|@import|//""", html)
    policy = dict(response.fields)[b"content-security-policy"].decode()
    assert "default-src 'none'" in policy
    assert policy.count("sha256-") == 2
    assert "unsafe" not in policy
    assert "innerHTML" not in html


def test_the_page_reads_over_comments() -> None:
    body = page().body
    assert isinstance(body, bytes)
    assert b'part.startsWith("data: ")' in body
