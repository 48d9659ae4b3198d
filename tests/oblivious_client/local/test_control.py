"""What a running endpoint leaves, who can read it, and what is done about what was left behind."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oblivious_client.local import control
from oblivious_client.local.access import Access
from tests.support.gateway import StandInGateway
from tests.support.local_endpoint import Setting, running


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running_:
        yield running_


def test_an_endpoint_is_found_and_stopped_even_where_it_wants_a_key(
    gateway: StandInGateway, tmp_path: Path
) -> None:
    setting = Setting(access=Access(key=b"0123456789abcdef"))
    with running([gateway.url], setting) as (url, endpoint):
        with control.announced(url, tmp_path) as endpoint.control:
            (file,) = tmp_path.iterdir()
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            ((found, told),) = control.found(tmp_path)
            assert (found.url, found.process) == (url, os.getpid())
            assert told["address"] == f"relay {gateway.url}"
            assert found.token.encode() == endpoint.control
            assert found.token not in repr(found)
            assert control.stop(found)
            assert endpoint.stop.is_set()
        assert list(tmp_path.iterdir()) == []


def test_each_start_has_a_token_of_its_own(tmp_path: Path) -> None:
    tokens = []
    for _ in range(2):
        with control.announced("http://127.0.0.1:1", tmp_path) as token:
            tokens.append(token)
    assert tokens[0] != tokens[1]
    assert {len(token) for token in tokens} == {43}  # of 32 octets, in base64


def test_it_is_left_in_a_folder_for_its_owner_alone_in_place_of_an_older_one(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "a" / "b"
    with control.announced("http://127.0.0.1:1", folder) as first:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        with control.announced("http://127.0.0.1:1", folder) as second:
            (file,) = folder.iterdir()
            assert json.loads(file.read_text())["token"].encode() == second != first


def test_what_was_left_behind_is_cleared_away(tmp_path: Path) -> None:
    left = {"url": "http://127.0.0.1:1", "process": 1, "token": "t"}
    (tmp_path / "serve-1.json").write_text(json.dumps(left))
    assert control.found(tmp_path) == []
    assert not (tmp_path / "serve-1.json").exists()


def test_the_endpoint_is_asked_past_every_proxy(
    gateway: StandInGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with (
        running([gateway.url], Setting()) as (url, endpoint),
        control.announced(url, tmp_path) as endpoint.control,
    ):
        assert len(control.found(tmp_path)) == 1


def test_who_does_not_know_the_token_is_none_of_ours(
    gateway: StandInGateway, tmp_path: Path
) -> None:
    """One of ours was killed, and another program listens where it did."""
    with running([gateway.url], Setting(access=Access(key=b"0123456789abcdef"))) as (url, endpoint):
        with control.announced(url, tmp_path):
            endpoint.control = b"another"
            assert control.found(tmp_path) == []
        assert list(tmp_path.iterdir()) == []


def test_what_is_no_object_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listed(*_: Any, **__: Any) -> httpx.Response:
        return httpx.Response(200, json=[], request=httpx.Request("POST", "http://a"))

    monkeypatch.setattr(httpx.Client, "request", listed)
    with control.announced("http://127.0.0.1:1", tmp_path) as token:
        assert not control.stop(control.Running("http://127.0.0.1:1", 1, token.decode()))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": 1}', '{"url": "x", "more": 1}'])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, content: str) -> None:
    file = tmp_path / "serve-1.json"
    file.write_text(content)
    assert control.found(tmp_path) == []
    assert file.exists()


def test_the_file_of_another_that_started_since_is_left(tmp_path: Path) -> None:
    with control.announced("http://127.0.0.1:1", tmp_path):
        outer = control.announced("http://127.0.0.1:1", tmp_path)
        token = outer.__enter__()
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["token"] == token.decode()
    outer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with control.announced("http://127.0.0.1:1", tmp_path / "file") as token:
        assert token
    assert control.found(tmp_path / "none") == []
