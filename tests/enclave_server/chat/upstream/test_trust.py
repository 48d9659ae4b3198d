"""Whose certificates are trusted."""

import ssl
from pathlib import Path

import pytest

from enclave_server.chat.upstream.trust import ssl_context
from tests.support.upstream_connection import Authority, upstream_at


def test_plain_connections_have_no_context() -> None:
    assert ssl_context(upstream_at("unix:/x")) is None


def test_certificates_are_demanded_and_names_compared() -> None:
    context = ssl_context(upstream_at("unix:/x", host_name="api.example.com"))
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_nothing_but_http_1_1_is_offered(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl_context(upstream_at("unix:/x", host_name="h", ca_file=str(authority.file)))
    assert context is not None
    sent = ssl.MemoryBIO()
    hello = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="h")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    # RFC 7301: the extension, its length, that of the list, and of the one name in it.
    assert b"\x00\x10\x00\x0b\x00\x09\x08http/1.1" in sent.read()


def test_an_authority_of_one_s_own_is_trusted_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = ssl_context(upstream_at("unix:/x", host_name="h", ca_file=str(authority.file)))
    assert context is not None
    assert len(context.get_ca_certs()) == 1


def test_a_file_without_certificates_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("empty.pem", "absent.pem"):
        with pytest.raises(OSError, match=r"certificate|No such file"):
            ssl_context(upstream_at("unix:/x", host_name="h", ca_file=str(tmp_path / name)))
