"""Requests and responses of programs on this machine."""

from oblivious_client.local.messages import LocalRequest, LocalResponse


def test_a_field_is_one_or_none() -> None:
    request = LocalRequest("GET", "/", ((b"a", b"1"), (b"b", b"\xe9"), (b"b", b"2")), b"secret")
    assert request.field(b"a") == "1"
    assert request.field(b"b") is request.field(b"c") is None
    assert [request.count(name) for name in (b"a", b"b", b"c")] == [1, 2, 0]
    assert LocalRequest("GET", "/", ()).body == b""


def test_a_response_can_say_more() -> None:
    bare = LocalResponse(200, ((b"a", b"1"),), b"body")
    assert bare.beside(((b"b", b"2"),)) == LocalResponse(200, ((b"a", b"1"), (b"b", b"2")), b"body")


def test_bodies_are_not_printed() -> None:
    assert "secret" not in repr(LocalRequest("GET", "/", (), b"secret"))
    assert "secret" not in repr(LocalResponse(200, (), b"secret"))
