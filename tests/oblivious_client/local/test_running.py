"""`serve` as a command: what it refuses, how it starts, how it is kept and ended."""

import asyncio
import contextlib
import os
import queue
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from oblivious_client import cli, configuration, options
from oblivious_client.configuration import Configuration
from oblivious_client.errors import (
    ClientError,
    EvidenceRefused,
    NoAnswer,
    NoConnection,
    OuterRefusal,
    UsageError,
)
from oblivious_client.exits import Exit
from oblivious_client.local import control, running
from oblivious_client.local.access import Access
from oblivious_client.local.endpoint import LocalEndpoint
from oblivious_client.local.listening import read_place
from oblivious_client.local.relays import Relays
from tests.support.gateway import StandInGateway
from tests.support.local_endpoint import DEADLINE
from tests.support.releases import TRUST, WITNESSES

RELAY = "https://relay.example"
KEY = "0123456789abcdef"
SAID = re.compile(r"OPENAI_BASE_URL=(http\S+)/v1 \((.*)\)")


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as found:
        yield found


@pytest.fixture(autouse=True)
def own_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CACHE_HOME", "CONFIG_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name))
    for name in ("OBLIVIOUS_RELAY", "OBLIVIOUS_GATEWAY", "OBLIVIOUS_PCRS"):
        monkeypatch.delenv(name, raising=False)


def chosen(*words: object) -> running.Chosen:
    return options.parse(["serve", *map(str, words)], tuple(options.PARSERS))


def access(*words: object) -> Access:
    given = chosen(*words)
    return running.access(given, read_place(given.listen))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(KEY + "\n")
    return file


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "relay.example:80"])
def test_elsewhere_it_listens_with_a_key_alone(listen: str, key_file: Path) -> None:
    with pytest.raises(UsageError, match="not an address of this machine alone") as caught:
        access("--listen", listen)
    assert "--api-key FILE" in caught.value.advice
    assert access("--listen", listen, "--api-key", key_file).key == KEY.encode()


def test_who_may_ask_is_read_from_the_options(key_file: Path) -> None:
    words = ["--allow-origin", "http://a.example", "--allow-host", "Box", "--listen", "[::1]:1"]
    found = access(*words, "--api-key", key_file)
    assert found == Access(frozenset({"box", "::1"}), frozenset({"http://a.example"}), KEY.encode())
    for wrong in (["--allow-origin", "*"], ["--allow-host", "a:1"], ["--api-key", "/none"]):
        with pytest.raises(UsageError):
            access(*wrong)


def test_the_command_of_a_service_says_all_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key_file: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OBLIVIOUS_RELAY", RELAY)
    monkeypatch.setenv("OBLIVIOUS_PCRS", "pcrs.json")
    (tmp_path / "pcrs.json").write_text('{"Measurements": {"PCR0": "' + "01" * 48 + '"}}')
    python, *words = running.command(chosen())
    assert (python, words[:3]) == (sys.executable, ["-m", "oblivious_client", "serve"])
    assert words[3:] == [
        *("--relay", RELAY, "--pcrs", str(tmp_path / "pcrs.json"), "--max-age", "3600"),
    ]
    monkeypatch.setenv("OBLIVIOUS_WALLET", "own.sqlite3")
    own = ["--wallet", str(tmp_path / "own.sqlite3")]
    assert running.command(chosen())[8:] == [*own, "--max-age", "3600"]
    assert "own.sqlite3" not in running.command(chosen("--wallet", "other"))[9]
    monkeypatch.delenv("OBLIVIOUS_WALLET")
    (tmp_path / "trust.json").write_bytes(TRUST.encode_file())
    given = [
        *("--relay", "https://a.example", "--relay", "https://b.example", "--log"),
        *("--listen", "[::1]:5", "--api-key", str(key_file), "--allow-host", "box"),
        *("--allow-origin", "http://a", "--allow-simulated", "--no-cache", "--max-age", "60"),
        *("--proxy", "http://proxy.example:1"),
        *("--trust", str(tmp_path / "trust.json"), "--releases", str(tmp_path / "releases.json")),
        *("--mirror", WITNESSES[0].key.encode(), "--mirror", WITNESSES[1].key.encode()),
        *("--mirrors", "1", "--mirror-of", "gateway.example", "--mirror-down", "warn"),
    ]
    again = options.parse(running.command(chosen(*given))[3:], tuple(options.PARSERS))
    expected = vars(chosen(*given, "--pcrs", str(tmp_path / "pcrs.json")))
    assert vars(again) == expected
    mirror = WITNESSES[0].key.encode()
    configuration.write(configuration.place(), Configuration(mirror=(mirror,), mirror_down="warn"))
    words = running.command(chosen())
    assert f"--mirror {mirror} --mirror-down warn" in " ".join(words)


def test_what_is_to_be_kept_of_tokens_is_read_before_anything_is_sent(tmp_path: Path) -> None:
    voucher = tmp_path / "voucher"
    voucher.write_text("OBL-A")
    words = ["--voucher", voucher, "--wallet", tmp_path / "wallet.sqlite3"]
    stocks = running._stocks(chosen("--top-up", "c1=40", *words))
    assert stocks is not None
    assert {str(price): count for price, count in stocks.wanted.items()} == {"c1": 40}
    assert stocks.buyer.wallet.file.path == tmp_path / "wallet.sqlite3"
    assert running._stocks(chosen(*words)) is None
    with pytest.raises(UsageError, match="not a stock"):
        running._stocks(chosen("--top-up", "c1", *words))


def test_stocks_are_kept_while_it_serves_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[object] = []
    told: list[str] = []

    class Noting:
        """Notes whose stocks it keeps, and that it is told to end."""

        def __init__(self, stocks: object, catalogue: object, tell: object) -> None:
            given.append(stocks)

        async def run(self) -> None:
            told.append("begun")
            try:
                await asyncio.Event().wait()
            finally:
                told.append("ended")

    monkeypatch.setattr(running, "TopUp", Noting)
    relays: Any = None
    stocks: Any = object()

    async def main() -> None:
        for asked in (None, stocks):
            with running._topping_up(asked, relays, print):
                await asyncio.sleep(0)
                assert told == ([] if asked is None else ["begun"])
            await asyncio.sleep(0)

    asyncio.run(main())
    assert given == [stocks]
    assert told == ["begun", "ended"]


@pytest.mark.parametrize(
    ("failure", "passing"),
    [
        (NoConnection("x", advice=""), True),
        (NoAnswer(), True),
        (OuterRefusal("x", status=500, advice=""), True),
        (OuterRefusal("x", status=502, advice=""), True),
        (OuterRefusal("x", status=499, advice=""), False),
        (OuterRefusal("x", status=429, advice=""), True),
        (OuterRefusal("x", status=404, advice=""), False),
        (EvidenceRefused("x", code=Exit.CHAIN), False),
        (UsageError("x"), False),
    ],
)
def test_what_may_be_otherwise_in_a_moment(failure: ClientError, passing: bool) -> None:
    assert running.is_passing(failure) is passing


def test_who_does_not_answer_is_tried_less_and_less_often_and_told_of_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    told: list[str] = []

    class Away:
        async def evidence(self) -> None:
            if len(pauses) < 9:
                raise NoConnection("no connection", advice="wait")

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    monkeypatch.setattr(running, "_say", lambda _, verified, tell: tell(f"verified: {verified}"))
    asyncio.run(running._verify(Away(), told.append))  # type: ignore[arg-type]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert told == ["not verified yet: no connection: wait", "verified: None"]


class Command:
    """`serve` as a program of its own, and its lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line.rstrip("\n"))

    def until(self, words: str) -> str:
        """Return the next line that has some words in it."""
        return self.lines(words)[-1]

    def lines(self, words: str) -> list[str]:
        """Return all lines to the next one that has some words in it."""
        lines = [self._lines.get(timeout=DEADLINE)]
        while words not in lines[-1]:
            lines.append(self._lines.get(timeout=DEADLINE))
        return lines

    def url(self) -> str:
        found = SAID.search(self.until("listening"))
        assert found is not None
        return found[1]


@contextlib.contextmanager
def serving(*words: object) -> Iterator[Command]:
    command = [sys.executable, "-m", "oblivious_client", "serve", "--allow-simulated"]
    command += ["--no-cache", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Command(process)
        finally:
            process.kill()


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str) -> tuple[int, str, str]:
        code = cli.main(["serve", *words])
        written = capsys.readouterr()
        return code, written.out, written.err

    return command


def test_it_is_found_and_stopped(gateway: StandInGateway, run: Run) -> None:
    assert run("status")[0] == run("stop")[0] == Exit.FAILURE
    with serving("--relay", gateway.url, "--listen", "127.0.0.1:0") as served:
        url = served.url()
        code, out, _ = run("status")
        assert code == Exit.OK
        assert out.startswith(f"{url}  process {served.process.pid}, evidence verified, relay ")
        assert run("status", "--listen", "127.0.0.1:1")[0] == Exit.FAILURE
        code, _, err = run("stop", "--listen", url.removeprefix("http://"))
        assert (code, err) == (Exit.OK, f"stopped: {url}\n")
        assert served.process.wait(DEADLINE) == Exit.OK
    assert "no endpoint of yours is running" in run("status")[2]


def test_enough_descriptors_are_no_news(gateway: StandInGateway) -> None:
    with serving("--relay", gateway.url, "--listen", "127.0.0.1:0") as served:
        assert "descriptors" not in "".join(served.lines("listening"))


def test_it_starts_without_network_and_verifies_when_there_is_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with serving("--relay", f"http://127.0.0.1:{port}", "--listen", "127.0.0.1:0") as served:
        assert "no connection" in served.until("not verified yet")
        url = served.url()
        assert httpx.get(f"{url}/health").json()["evidence"] == "not yet"
        assert httpx.get(f"{url}/v1/models").status_code == 502
        with StandInGateway(port=port):
            served.until("verified: simulated document")
            assert httpx.get(f"{url}/v1/models").status_code == 200


def test_it_ends_when_it_is_told_while_it_still_tries_to_verify() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with serving("--relay", f"http://127.0.0.1:{port}", "--listen", "127.0.0.1:0") as served:
        served.url()
        served.process.terminate()
        assert served.process.wait(DEADLINE) == Exit.OK


def test_who_comes_when_it_was_told_to_stop_finds_nobody() -> None:
    relays: Any = None

    async def run() -> None:
        endpoint = LocalEndpoint(relays)
        told: list[str] = []

        def tell(said: str) -> None:
            told.append(said)
            endpoint.stop.set()

        await running._serve_until_stopped(endpoint, read_place("127.0.0.1:0"), "no key", tell)
        found = SAID.search(told[0])
        assert found is not None
        assert found[2] == "no key"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", int(found[1].rpartition(":")[2]))

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        asyncio.run(run())
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def test_evidence_that_does_not_hold_ends_it_before_it_listens(gateway: StandInGateway) -> None:
    command = [sys.executable, "-m", "oblivious_client", "serve", "--relay", gateway.url]
    ended = subprocess.run(command, capture_output=True, timeout=DEADLINE, check=False)
    assert ended.returncode == Exit.SIMULATED
    assert b"listening" not in ended.stderr


def test_its_relays_are_closed_whatever_ends_it(
    gateway: StandInGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    class Closed(Relays):
        async def aclose(self) -> None:
            await super().aclose()
            ended.append("closed")

    monkeypatch.setattr(running, "Relays", Closed)
    given = chosen("--relay", gateway.url)  # which is simulated
    place = read_place(given.listen)
    with pytest.raises(EvidenceRefused):
        asyncio.run(running._serve(given, place, running.access(given, place), None, print))
    assert ended == ["closed"]


def test_the_next_relay_and_each_request_are_in_the_log(gateway: StandInGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"http://127.0.0.1:{listener.getsockname()[1]}"
    words = ["--relay", dead, "--relay", gateway.url, "--listen", "127.0.0.1:0", "--log"]
    with serving(*words) as served:
        served.until(f"relay {dead} does not answer")
        served.until(f"asking through relay {gateway.url} from now on")
        url = served.url()
        httpx.get(f"{url}/v1/models/secret")
        line = served.until("GET ")
        assert re.search(r"Z GET /v1/models/\* 404 in 0 out \d+ octets, \d+ ms, whole$", line)


def test_a_container_is_served_by_name_and_key(gateway: StandInGateway, key_file: Path) -> None:
    words = ["--relay", gateway.url, "--listen", "0.0.0.0:0", "--api-key", key_file]
    with serving(*words, "--allow-host", "oblivious") as served:
        url = served.url()
        assert url.startswith("http://127.0.0.1:")
        named = {"host": "oblivious:11435"}
        assert httpx.get(f"{url}/v1/models", headers=named).status_code == 401
        good = {**named, "authorization": f"Bearer {KEY}"}
        assert httpx.get(f"{url}/v1/models", headers=good).status_code == 200
        other = {**good, "host": "other"}
        assert httpx.get(f"{url}/v1/models", headers=other).status_code == 403


def test_what_an_endpoint_says_of_itself_moves_no_cursor(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"evidence": "\x1b[2Kverified", "address": "relay \u202ehttps://a"}
    one = control.Running("http://127.0.0.1:1", 5, "token")
    monkeypatch.setattr(control, "found", lambda: [(one, said)])
    assert run("status")[1] == (
        "http://127.0.0.1:1  process 5, evidence [2Kverified, relay https://a\n"
    )


def test_it_is_installed_by_the_service_manager(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    stand_in = tmp_path / "systemctl"
    stand_in.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(said))}\n')
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    code, _, err = run("install", "--relay", RELAY, "--allow-simulated")
    assert code == Exit.OK, err
    unit = tmp_path / "CONFIG_HOME" / "systemd" / "user" / "oblivious-client.service"
    assert f'"serve" "--relay" "{RELAY}"' in unit.read_text()
    assert "RestartPreventExitStatus=2 10 11 12 13 14 15 16 17 27\n" in unit.read_text()
    assert said.read_text() == (
        "--user daemon-reload\n"
        "--user enable oblivious-client.service\n"
        "--user restart oblivious-client.service\n"
    )
    assert err == (
        f"written: {unit}\n"
        "it runs now and at each login; `oblivious-client serve status` shows how it fares\n"
    )


def test_an_endpoint_that_does_not_say_that_it_stops_is_told_of(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no endpoint of yours is running" in run("stop")[2]
    one = control.Running("http://127.0.0.1:1", 5, "token")
    monkeypatch.setattr(control, "found", lambda: [(one, {})])
    code, _, err = run("stop")
    assert code == Exit.FAILURE
    assert f"{one.url} does not say that it stops" in err


def test_what_cannot_be_served_is_not_installed(run: Run, tmp_path: Path) -> None:
    route = ["--relay", RELAY, "--allow-simulated"]
    for words in (["--listen", "192.0.2.1:1", *route], [], [*route, "--top-up", "nothing"]):
        assert run("install", *words)[0] == Exit.USAGE
    assert not (tmp_path / "CONFIG_HOME").exists()
