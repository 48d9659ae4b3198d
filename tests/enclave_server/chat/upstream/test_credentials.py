"""Keys: found late, absent, unusable, and never printed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat.upstream.credentials import EnvironmentKey, FileKey, ProvisionedKeys
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.provisioning import Secrets
from tests.enclave_server.chat.test_service import HELLO, SECRET, ask, request, service_for
from tests.support.upstream import StandInUpstream


def test_key_is_found_late_and_absence_is_said(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "key"
    provisioned = ProvisionedKeys()
    sources = [EnvironmentKey("TEST_KEY"), FileKey(str(file)), provisioned.source("u")]

    async def scenario() -> None:
        async with StandInUpstream() as upstream:
            services = [service_for(upstream, key=source) for source in sources]
            for service in services:
                answer, body = await ask(service, request(HELLO))
                assert (answer.status, body["error"]["code"]) == (503, "key_not_provisioned")
                assert "provisioned" in body["error"]["message"]
            monkeypatch.setenv("TEST_KEY", "k")
            file.write_text("k\n")
            provisioned.put({"u": "k"})
            for service in services:
                answer, _ = await ask(service, request(HELLO))
                assert answer.status == 200
                service.close()
        assert [r.fields["authorization"] for r in upstream.requests] == ["Bearer k"] * 3

    monkeypatch.delenv("TEST_KEY", raising=False)
    asyncio.run(scenario())


@pytest.mark.parametrize("key", ["", " ", "a\r\nX-Other: b", "a b", "ключ"])
def test_key_that_no_field_can_carry_is_no_key(key: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TEST_KEY", key)
    (tmp_path / "key").write_text(key)
    assert EnvironmentKey("TEST_KEY")() is None
    assert FileKey(str(tmp_path / "key"))() is None
    with pytest.raises(ValueError, match="API key"):
        ProvisionedKeys().put({"u": key})


def test_keys_are_never_printed() -> None:
    keys = ProvisionedKeys()
    keys.put({"u": SECRET})
    upstream = Upstream("u", parse_address("unix:/x"), key=keys.source("u"))
    assert SECRET not in repr(keys) + repr(upstream) + repr(keys.source("u"))


def test_account_settings_are_found_with_the_key_they_came_with() -> None:
    keys = ProvisionedKeys()
    account = keys.account("u")
    assert account() == {}
    keys.put_all(Secrets({"u": "k"}, {"u": {"project": "p", "organization": "o"}}))
    assert account() == {"project": "p", "organization": "o"}
    assert (keys.source("u")(), keys.source("v")()) == ("k", None)
    assert keys.account("v")() == {}
    keys.put_all(Secrets({"u": "k"}, {}))
    assert account() == {}
