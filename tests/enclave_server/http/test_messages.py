"""The outer exchange as the routes see it."""

from enclave_server.http.messages import OuterRequest, OuterResponse


def test_every_value_of_a_field_in_order() -> None:
    headers = ((b"via", b"a"), (b"host", b"b"), (b"via", b"c"))
    request = OuterRequest(b"GET", b"/", b"", headers)
    assert request.fields(b"via") == [b"a", b"c"]
    assert request.fields(b"date") == []


def test_what_a_response_is_without_a_word() -> None:
    response = OuterResponse(204)
    assert (response.headers, response.body, response.route) == ((), b"", "none")
