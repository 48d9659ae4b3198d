"""Who asks: a bearer key, or a signature that botocore makes as well."""

import datetime
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as Oracle

from enclave_server.chat.dialects.amazon.signing import Credentials, authorize, sign
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.errors import Failure, UpstreamError
from tests.support.upstream_connection import upstream_at

NOW = 1764381960.9
HOST = "bedrock-runtime.eu-west-1.amazonaws.com"
SECRET, TOKEN = "secret/+key", "token//=="


def signature_of_botocore(
    monkeypatch: pytest.MonkeyPatch, host: str, path: str, body: bytes, token: str | None
) -> dict[str, str]:
    moment = datetime.datetime.fromtimestamp(NOW, datetime.UTC)
    monkeypatch.setattr(auth, "get_current_datetime", lambda *_: moment)
    fields = {"Host": host, "Content-Type": "application/json"}
    request = AWSRequest("POST", f"https://{host}{path}", fields, body)
    auth.SigV4Auth(Oracle("AKID", SECRET, token), "bedrock", "eu-west-1").add_auth(request)
    return {name.lower(): value for name, value in request.headers.items()}


PATHS = [
    "/model/a/converse",
    "/model/eu.anthropic.claude-v1%3A0/converse-stream",
    "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A1%3Ainference-profile%2Fa.b~c_d/invoke",
    "/a/b%20c/model/%C3%A4/invoke",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"", b'{"a":"\xc3\xa4"}'])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_signature_is_the_one_that_botocore_makes(
    monkeypatch: pytest.MonkeyPatch, path: str, body: bytes, token: str | None
) -> None:
    signed = sign(HOST, path, body, Credentials("AKID", SECRET, "eu-west-1", token), NOW)
    expected = signature_of_botocore(monkeypatch, HOST, path, body, token)
    told = {name.decode().lower(): value.decode() for name, value in signed}
    assert told == {name: expected[name] for name in told}
    assert told.keys() == expected.keys() - {"host", "content-type"}


def fields(host: str = HOST, key: str | None = SECRET, **settings: str) -> dict[bytes, bytes]:
    upstream = upstream_at("tcp://127.0.0.1:1", host_name=host, path_prefix="/p")
    return dict(authorize(upstream, Account(key, settings), "/model/a/converse", b"{}", NOW))


def test_key_alone_is_a_bearers() -> None:
    assert fields() == {b"Authorization": b"Bearer secret/+key"}


def test_without_a_key_nobody_asks() -> None:
    assert fields(key=None, access_key_id="AKID") == {}


@pytest.mark.parametrize(
    ("host", "settings", "region"),
    [
        (HOST, {}, "eu-west-1"),
        (HOST, {"region": "us-east-1"}, "us-east-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", {}, "us-gov-west-1"),
        ("vpce-0.bedrock-runtime.ap-south-1.vpce.amazonaws.com", {}, "ap-south-1"),
        ("127.0.0.1", {"region": "us-east-1"}, "us-east-1"),
    ],
)
def test_region_is_the_hosts_or_set(host: str, settings: dict[str, str], region: str) -> None:
    told = fields(host, access_key_id="AKID", session_token=TOKEN, **settings)
    assert f"AKID/20251129/{region}/bedrock/aws4_request".encode() in told[b"Authorization"]
    assert told[b"x-amz-date"] == b"20251129T020600Z"
    assert told[b"x-amz-security-token"] == TOKEN.encode()


def test_signature_is_over_the_prefix_too() -> None:
    credentials = Credentials("AKID", SECRET, "eu-west-1")
    expected = sign(HOST, "/p/model/a/converse", b"{}", credentials, NOW)
    assert fields(access_key_id="AKID") == dict(expected)


def test_without_a_region_nobody_is_asked() -> None:
    with pytest.raises(UpstreamError) as caught:
        fields("example.com", access_key_id="AKID")
    assert caught.value.failure is Failure.NO_KEY


def test_secrets_are_not_printed() -> None:
    credentials: Any = Credentials("AKID", SECRET, "eu-west-1", TOKEN)
    assert SECRET not in repr(credentials)
    assert TOKEN not in repr(credentials)
