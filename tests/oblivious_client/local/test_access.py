"""Who may ask: this machine, who is named, and who has the key."""

import hmac
from pathlib import Path

import pytest

from oblivious_client.errors import UsageError
from oblivious_client.local.access import (
    LARGEST_KEY,
    SHORTEST_KEY,
    Access,
    carries,
    host_name,
    is_preflight,
    keys_in,
    names_this_machine,
    preflight_fields,
    read_host,
    read_key,
    read_origin,
)
from oblivious_client.local.messages import LocalRequest

KEY = b"0123456789abcdef"
SITE = "https://site.example"


def head(method: str = "GET", **fields: str) -> LocalRequest:
    named = {"host": "localhost:1", **fields}
    raw = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in named.items())
    return LocalRequest(method, "/v1/models", raw)


def refused(who: Access, request: LocalRequest) -> str | None:
    refusal = who.refusal(request)
    if refusal is None:
        return None
    assert refusal.status == (401 if refusal.code == "invalid_api_key" else 403)
    return refusal.code


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("LOCALHOST:1", "localhost"),
        ("[::1]:11435", "::1"),
        ("[::1]", "::1"),
        ("::1", ""),
        ("a:b", ""),
        ("a:123456", ""),
        ("a@b:1", "a@b"),
        ("", ""),
        ("[evil]:1", ""),
    ],
)
def test_a_host_has_a_name(host: str, name: str) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    ("name", "is_here"),
    [
        ("localhost", True),
        ("page.localhost", True),
        ("::1", True),
        ("127.0.0.9", True),
        ("localhost.example", False),
        ("evillocalhost", False),
        ("192.0.2.1", False),
        ("", False),
    ],
)
def test_what_names_this_machine(name: str, is_here: bool) -> None:
    assert names_this_machine(name) is is_here


def test_a_host_that_is_named_may_be_asked_for_and_no_other() -> None:
    who = Access(hosts=frozenset({"oblivious"}))
    assert refused(who, head(host="oblivious:11435")) is None
    assert refused(who, head(host="Oblivious")) is None
    for other in ("oblivious.example", "evil.example:11435"):
        assert refused(who, head(host=other)) == "host_not_allowed"
    assert refused(Access(), head(host="oblivious")) == "host_not_allowed"


def test_a_site_that_is_named_may_ask_and_no_other() -> None:
    who = Access(origins=frozenset({SITE}))
    assert refused(who, head(origin=SITE, sec_fetch_site="cross-site")) is None
    for other in (f"{SITE}:444", "http://site.example", "https://a.site.example", "null", ""):
        assert refused(who, head(origin=other)) == "origin_not_allowed"
    assert refused(who, head(sec_fetch_site="cross-site")) == "origin_not_allowed"
    assert refused(Access(), head(origin=SITE)) == "origin_not_allowed"


def test_a_site_that_is_named_may_read_and_no_other() -> None:
    who = Access(origins=frozenset({SITE}))
    allowed = dict(who.fields_for(head(origin=SITE)))
    assert allowed[b"access-control-allow-origin"] == SITE.encode()
    assert allowed[b"vary"] == b"origin"
    assert who.fields_for(head(origin="https://other.example")) == ((b"vary", b"origin"),)
    assert Access().fields_for(head(origin=SITE)) == ()


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "origin", "host"])
def test_a_doubled_field_is_never_good(name: str) -> None:
    value = {"authorization": b"Bearer " + KEY, "origin": b"http://localhost:1"}.get(name, KEY)
    value = b"localhost:1" if name == "host" else value
    own = ((b"host", b"localhost:1"),) if name != "host" else ()
    double = LocalRequest("GET", "/", (*own, *2 * ((name.encode(), value),)))
    assert refused(Access(key=KEY), double) is not None


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "invalid_api_key"),
        ({"authorization": f"Bearer {KEY.decode()}"}, None),
        ({"authorization": f"bearer  {KEY.decode()} "}, None),
        ({"authorization": KEY.decode()}, "invalid_api_key"),
        ({"authorization": f"Basic {KEY.decode()}"}, "invalid_api_key"),
        ({"authorization": f"Bearer {KEY.decode()}0"}, "invalid_api_key"),
        ({"authorization": "Bearer "}, "invalid_api_key"),
        ({"x_api_key": KEY.decode()}, None),
        ({"x_api_key": KEY.decode()[:-1]}, "invalid_api_key"),
        ({"x_api_key": "none", "authorization": f"Bearer {KEY.decode()}"}, None),
    ],
)
def test_every_request_carries_the_key(fields: dict[str, str], code: str | None) -> None:
    request = head("POST", **fields)
    assert refused(Access(key=KEY), request) == code
    refusal = Access(key=KEY).refusal(request)
    assert refusal is None or refusal.status == 401
    assert refused(Access(), request) is None


def test_the_place_is_looked_at_before_the_key() -> None:
    assert refused(Access(key=KEY), head(host="evil.example")) == "host_not_allowed"


@pytest.mark.parametrize("name", ["host", "origin", "sec-fetch-site"])
def test_what_another_reader_might_take_otherwise_is_refused_by_name(name: str) -> None:
    given = {"host": b"localhost:1", "origin": b"http://localhost:1", "sec-fetch-site": b"none"}
    fields = [(each.encode(), value) for each, value in given.items()]
    once = LocalRequest("GET", "/", tuple(fields))
    assert refused(Access(), once) is None
    twice = LocalRequest("GET", "/", (*fields, (name.encode(), given[name])))
    assert refused(Access(), twice) == "field_repeated"


def test_keys_are_compared_in_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    request = head(authorization="Bearer a", x_api_key="b")
    assert not carries(request, KEY)
    assert compared == [(b"a", KEY), (b"b", KEY)]
    assert keys_in(request) == [b"a", b"b"]
    assert KEY.decode() not in repr(Access(key=KEY))


def test_a_preflight_carries_no_key_and_names_the_fields_of_sdks() -> None:
    names = "authorization, x-stainless-lang,anthropic-version"
    asked = {"origin": SITE, "access_control_request_method": "POST"}
    request = head("OPTIONS", **asked, access_control_request_headers=names)
    who = Access(origins=frozenset({SITE}), key=KEY)
    assert is_preflight(request)
    assert refused(who, request) is None
    fields = dict(preflight_fields(request))
    assert fields[b"access-control-allow-headers"] == names.encode()
    assert fields[b"access-control-allow-methods"] == b"GET, HEAD, POST"
    assert fields[b"access-control-max-age"] == b"600"
    assert b"access-control-allow-private-network" not in fields
    local = head("OPTIONS", **asked, access_control_request_private_network="true")
    assert dict(preflight_fields(local))[b"access-control-allow-private-network"] == b"true"


@pytest.mark.parametrize("names", ["a b", "a,,b", "a\tb", "ä", ""])
def test_what_is_no_list_of_names_is_not_repeated(names: str) -> None:
    request = head("OPTIONS", access_control_request_headers=names)
    assert b"access-control-allow-headers" not in dict(preflight_fields(request))


@pytest.mark.parametrize(
    "request_",
    [
        head("GET", origin=SITE, access_control_request_method="POST"),
        head("OPTIONS", access_control_request_method="POST"),
        head("OPTIONS", origin=SITE),
    ],
)
def test_what_is_no_preflight_needs_the_key(request_: LocalRequest) -> None:
    who = Access(origins=frozenset({SITE}), key=KEY)
    assert not is_preflight(request_)
    assert refused(who, request_) == "invalid_api_key"


@pytest.mark.parametrize(
    "text", ["http://localhost:3000", "https://site.example", "chrome-extension://abcdef"]
)
def test_an_origin_is_as_browsers_write_it(text: str) -> None:
    assert read_origin(text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("*", "null", "", "site.example", "https://site.example/", "https://", "file:///a"),
        *("https://site.example/path", "HTTPS://site.example", "https://*.example/"),
        *("https://a:b@site.example", "https://site.example:443", "https://a b"),
    ],
)
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(UsageError, match="not an origin") as caught:
        read_origin(text)
    assert "no wildcards" in caught.value.advice


@pytest.mark.parametrize(("text", "name"), [("Oblivious", "oblivious"), ("a-b.c_d", "a-b.c_d")])
def test_a_name_to_be_called_by(text: str, name: str) -> None:
    assert read_host(text) == name


@pytest.mark.parametrize("text", ["", "a:1", "http://a", "*", "a b", "[::1]", "a/"])
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UsageError, match="not a host name"):
        read_host(text)


@pytest.mark.parametrize("size", [SHORTEST_KEY, LARGEST_KEY])
def test_a_key_is_read_without_the_space_around_it(tmp_path: Path, size: int) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"k" * size)
    assert read_key(file) == b"k" * size
    if size == SHORTEST_KEY:
        file.write_bytes(b"\n" + b"k" * size + b" \r\n")
        assert read_key(file) == b"k" * size


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"k" * (SHORTEST_KEY - 1),
        b"k" * (LARGEST_KEY + 1),
        b"two words are no key",
        b"\xff" * 20,
    ],
)
def test_what_is_no_key(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    with pytest.raises(UsageError, match="holds no key of 16 or more"):
        read_key(file)
    with pytest.raises(UsageError, match="cannot read"):
        read_key(tmp_path / "none")
