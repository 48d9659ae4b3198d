"""The store of spent tokens as an operator runs it: configuration in a real Redis, and unit."""

import asyncio
import re
import secrets
import shutil
from pathlib import Path

import pytest

from tests.scripts.deploy.test_units import DEPLOY, WORST_EXPOSURE, analyze, with_systemd
from tests.support.paid_service import redis_store
from tests.support.redis_server import RedisServer, redis_server

CONFIGURATION = DEPLOY / "spent-tokens-redis.conf"
UNIT = DEPLOY / "spent-tokens-redis.service"


def settings() -> dict[str, str]:
    lines = [line for line in CONFIGURATION.read_text().splitlines() if line and line[0] != "#"]
    return dict(line.split(" ", 1) for line in lines)


@pytest.fixture
def configured(tmp_path: Path) -> list[str]:
    """Return the options that have a server read the configuration, moved here."""
    moved = [
        line
        for line in CONFIGURATION.read_text().splitlines()
        if not line.startswith(("port ", "dir ", "bind "))
    ]
    path = tmp_path / "moved.conf"
    path.write_text("\n".join(moved) + "\n")
    return ["--include", str(path)]


def test_the_three_commands_work_and_no_other_does(tmp_path: Path, configured: list[str]) -> None:
    name, other = secrets.token_bytes(32), secrets.token_bytes(32)

    async def scenario(server: RedisServer) -> None:
        store = redis_store(server.unix)
        store.commit(name, await store.hold(name))
        store.give_back(other, await store.hold(other))
        await store.close()

    with redis_server(tmp_path, *configured) as server:
        asyncio.run(scenario(server))
        assert server.count() == 1
        for command in ("FLUSHALL", "KEYS *", "SCAN 0", "CONFIG GET dir", "SAVE", "SHUTDOWN"):
            assert server.command(*command.split()).startswith(b"-NOPERM")
        assert server.command("INFO", "memory").startswith(b"$")


def test_what_is_spent_outlives_the_server(tmp_path: Path, configured: list[str]) -> None:
    name = secrets.token_bytes(32)

    async def spend(server: RedisServer) -> None:
        store = redis_store(server.unix)
        store.commit(name, await store.hold(name))
        await store.close()

    with redis_server(tmp_path, *configured) as server:
        asyncio.run(spend(server))
    with redis_server(tmp_path, *configured) as server:
        assert server.count() == 1


def test_it_forgets_nothing_and_keeps_to_the_machine() -> None:
    found = settings()
    assert (found["appendonly"], found["appendfsync"]) == ("yes", "everysec")
    assert found["maxmemory-policy"] == "noeviction"
    assert (found["bind"], found["protected-mode"]) == ("127.0.0.1", "yes")
    text = CONFIGURATION.read_text()
    assert f'"127.0.0.1:{found["port"]}"' in text
    assert f"StateDirectory={Path(found['dir']).name}\n" in UNIT.read_text()


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that exists on this machine."""
    path = tmp_path / UNIT.name
    path.write_text(UNIT.read_text().replace("/usr/bin/redis-server", "/bin/true"))
    shutil.copy(DEPLOY / "oblivious-alarm@.service", tmp_path)
    for each in tmp_path.iterdir():
        each.chmod(0o644)
    return path


@with_systemd
def test_systemd_finds_no_fault_and_little_that_is_exposed(unit: Path) -> None:
    result = analyze(unit.parent, "verify", str(unit))
    assert result.returncode == 0, result.stderr
    assert UNIT.name not in result.stderr
    result = analyze(unit.parent, "security", "--offline=true", str(unit))
    exposure = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", result.stdout)
    assert exposure is not None, result.stderr
    assert float(exposure[1]) < WORST_EXPOSURE
