"""The running issuer: processes that are killed, told to end or to read keys anew, and counts."""

import json
import os
import random
import re
import signal
import socket
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from protocol.issuer_directory import IssuerDirectory
from protocol.private_token import Token, request_token
from protocol.token_batch import encode_requests
from protocol.token_catalogue import CatalogueKey
from tests.support.issuer_process import (
    DEADLINE,
    IssuerFiles,
    IssuerProcess,
    running_issuer,
)
from tests.support.issuing import BATCH, CHALLENGE, Basket
from tests.support.postgresql import PostgreSql
from tests.token_issuer.test_settings import X402
from token_issuer import serving
from token_issuer.administration import discrepancies, issued_by_key, open_account, outstanding
from token_issuer.database import open_database
from token_issuer.key_files import write_key
from token_issuer.key_plan import new_keys
from token_issuer.ledger import Ledger
from token_issuer.settings import SettingsError, read_settings
from token_issuer.upgrade import upgraded_ledger

KILLS = 20
BUYERS = 4
ROUNDS = 12
SIZE = 10


@pytest.fixture
def files(tmp_path: Path, address: str) -> IssuerFiles:
    made = IssuerFiles(tmp_path, address)
    made.write()
    return made


@pytest.fixture
def ledger(files: IssuerFiles) -> Iterator[Ledger]:
    """The ledger as seen from another process; made when the issuer starts."""
    assert files.run("accounts", "list") == 0
    engine = open_database(files.database)
    yield Ledger(engine, 1)
    engine.dispose()


def basket(key: CatalogueKey, count: int) -> Basket:
    pairs = [request_token(key.key, CHALLENGE.digest) for _ in range(count)]
    return Basket(encode_requests([request for request, _ in pairs]), [each for _, each in pairs])


def send(url: str, secret: str, body: bytes) -> httpx.Response:
    fields = {"Authorization": f"Bearer {secret}", "Content-Type": BATCH}
    return httpx.post(f"{url}/token-request", content=body, headers=fields, timeout=DEADLINE)


def insist(url: str, secret: str, body: bytes) -> bytes:
    """Send the same request until it is answered, as a client does that lost an answer."""
    deadline = time.monotonic() + DEADLINE
    while True:
        assert time.monotonic() < deadline, "no answer"
        try:
            answer = send(url, secret, body)
        except httpx.TransportError:
            continue
        if answer.status_code != 503:
            assert answer.status_code == 200, answer.text
            return answer.content


def kill_workers(issuer: IssuerProcess, done: threading.Event) -> int:
    """Kill one process after another until that is enough, or all is bought."""
    chance, killed = random.Random(1), 0
    while killed < KILLS and not done.wait(0.15):
        if workers := issuer.workers():
            try:
                os.kill(chance.choice(workers), signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed += 1
    return killed


def test_processes_that_are_killed_lose_nothing(files: IssuerFiles, ledger: Ledger) -> None:
    vouchers = [open_account(ledger, int(time.time()), units=200)[1] for _ in range(BUYERS)]
    key = files.key(1)

    def buy(secret: str) -> list[Token]:
        baskets = [basket(key, SIZE) for _ in range(ROUNDS)]
        tokens = []
        for at, wanted in enumerate(baskets):
            tokens += wanted.open(insist(issuer.url, secret, wanted.body))
            if at % 3 == 0:
                insist(issuer.url, secret, wanted.body)
        return tokens

    done = threading.Event()
    with running_issuer(files) as issuer, ThreadPoolExecutor(BUYERS + 1) as pool:
        killer = pool.submit(kill_workers, issuer, done)
        bought = [token for tokens in pool.map(buy, vouchers) for token in tokens]
        done.set()
        assert killer.result() > 0
    for token in bought:
        token.verify(key.key, CHALLENGE.digest)
    assert len({token.nonce for token in bought}) == BUYERS * ROUNDS * SIZE
    assert issued_by_key(ledger) == {key.key.key_id.hex(): len(bought)}
    assert outstanding(ledger) + len(bought) == 200 * BUYERS
    assert discrepancies(ledger) == []
    if files.database.startswith("sqlite"):
        with sqlite3.connect(files.directory / "ledger.sqlite3") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_eight_buyers_of_one_voucher_never_overdraw_it_in_several_processes(
    files: IssuerFiles, ledger: Ledger
) -> None:
    _, secret = open_account(ledger, int(time.time()), units=20)
    baskets = [basket(files.key(1), 2) for _ in range(16)]
    with running_issuer(files) as issuer, ThreadPoolExecutor(8) as pool:
        assert len(issuer.all_workers()) > 1
        answers = list(pool.map(lambda each: send(issuer.url, secret, each.body), baskets))
    assert Counter(answer.status_code for answer in answers) == {200: 10, 402: 6}
    for wanted, answer in zip(baskets, answers, strict=True):
        if answer.status_code == 200:
            assert len(wanted.open(answer.content)) == 2
    assert outstanding(ledger) == 0
    assert discrepancies(ledger) == []


def test_sigterm_lets_a_batch_end_and_what_comes_again_is_not_paid_again(
    files: IssuerFiles, ledger: Ledger
) -> None:
    _, secret = open_account(ledger, int(time.time()), units=1000)
    key = files.key(4)
    wanted = basket(key, 100)
    with running_issuer(files) as issuer, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(send, issuer.url, secret, wanted.body)
        deadline = time.monotonic() + DEADLINE
        while not issued_by_key(ledger):
            assert time.monotonic() < deadline
        issuer.signal(signal.SIGTERM)  # the price has been taken; keys are signing
        assert answer.result().status_code == 200
        assert issuer.wait() == 0
    with running_issuer(files) as issuer:
        again = send(issuer.url, secret, wanted.body)
        assert again.content == answer.result().content
    wanted.open(again.content)
    assert outstanding(ledger) == 600


# One database is enough for the rest --------------------------------------------------------


@pytest.fixture
def plain(tmp_path: Path) -> IssuerFiles:
    made = IssuerFiles(tmp_path, f"sqlite:///{tmp_path}/ledger.sqlite3")
    made.write()
    return made


def test_metrics_are_of_all_processes_and_on_their_own_listener(plain: IssuerFiles) -> None:
    with running_issuer(plain) as issuer:
        for _ in range(30):
            assert httpx.get(f"{issuer.url}/account").status_code == 401
        told = httpx.get(f"{issuer.metrics_url}/anything")
        assert told.headers["Content-Type"].startswith("text/plain")
        found = re.search(r'requests_total\{route="account",status="401"\} (\d+)', told.text)
        assert found is not None
        assert int(found[1]) == 30
        assert "token_issuer_outstanding_units 0.0" in told.text
        assert httpx.get(f"{issuer.url}/metrics").status_code == 404
    assert {"event": "request", "route": "other", "status": 404}.items() <= events(issuer)[
        -1
    ].items()


def events(issuer: IssuerProcess) -> Sequence[dict[str, object]]:
    return [json.loads(line) for line in issuer.lines if line.startswith("{")]


def test_no_address_is_logged(plain: IssuerFiles) -> None:
    with running_issuer(plain) as issuer:
        httpx.get(f"{issuer.url}/account", headers={"User-Agent": "somebody"})
    listening, ready, *requests = issuer.lines
    assert json.loads(listening)["address"] == f"tcp://127.0.0.1:{plain.port}"
    assert json.loads(ready)["event"] == "ready"
    assert requests
    assert not [line for line in requests if "127.0.0.1" in line or "somebody" in line]


def test_metrics_and_requests_may_come_by_unix_sockets(tmp_path: Path) -> None:
    made = IssuerFiles(tmp_path, f"sqlite:///{tmp_path}/ledger.sqlite3", workers=1)
    made.write()
    text = made.settings.read_text()
    for port, name in ((made.port, "a"), (made.metrics_port, "b")):
        text = text.replace(f"127.0.0.1:{port}", f"unix:{tmp_path}/{name}")
    made.settings.write_text(text)
    process = IssuerProcess(made)
    try:
        process.await_line('"ready"')
        for name, path, status in (("a", "/metrics", 404), ("b", "/metrics", 200)):
            transport = httpx.HTTPTransport(uds=str(tmp_path / name))
            with httpx.Client(transport=transport) as client:
                assert client.get(f"http://issuer{path}").status_code == status
    finally:
        process.end()


def test_a_reload_brings_new_keys_and_leaves_out_destroyed_ones(plain: IssuerFiles) -> None:
    old = plain.key(1)
    with running_issuer(plain) as issuer:
        for each in new_keys([], [old.epoch], [old.price]):
            write_key(plain.keys, each.entry, each.private)
        (plain.keys / f"{old.key.key_id.hex()}.pem").unlink()
        path = "/.well-known/private-token-issuer-directory"
        assert IssuerDirectory.decode(httpx.get(f"{issuer.url}{path}").content).has(old.key)
        issuer.signal(signal.SIGHUP)
        deadline = time.monotonic() + DEADLINE
        while IssuerDirectory.decode(httpx.get(f"{issuer.url}{path}").content).has(old.key):
            assert time.monotonic() < deadline
        told = IssuerDirectory.decode(httpx.get(f"{issuer.url}{path}").content)
        assert told.has(each.entry.key)


def test_bodies_without_a_length_have_the_same_limit(plain: IssuerFiles) -> None:
    with running_issuer(plain) as issuer, upgraded_ledger(read_settings(plain.settings)) as ledger:
        _, secret = open_account(ledger, int(time.time()), units=2)
        fields = {"Authorization": f"Bearer {secret}", "Content-Type": BATCH}
        wanted = basket(plain.key(1), 2)
        for body, status in ((bytes(40 * 1024), 413), (wanted.body, 200)):
            answer = httpx.post(
                f"{issuer.url}/token-request", content=in_pieces(body), headers=fields
            )
            assert answer.status_code == status
    wanted.open(answer.content)


def in_pieces(body: bytes) -> Iterator[bytes]:
    """Yield a body that httpx sends in chunks."""
    for at in range(0, len(body), 100):
        yield body[at : at + 100]


def test_what_is_wrong_at_the_start_is_said(
    plain: IssuerFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    (plain.keys / "receipts.pem").chmod(0o644)
    assert plain.run("serve") == 1
    assert "read by others" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        '[stripe]\nsecret_file = "/none"\ncurrency = "eur"\nminor_per_unit = 5\n',
        X402 + 'facilitator_secret_file = "/none"\n',
    ],
)
def test_a_secret_that_is_not_there_is_said_before_anything_is_answered(
    more: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = IssuerFiles(tmp_path, f"sqlite:///{tmp_path}/ledger.sqlite3", more=more)
    made.write()
    monkeypatch.setattr(serving, "_Server", lambda _: pytest.fail("it was served"))
    with pytest.raises(SettingsError, match="/none cannot be read"):
        serving.serve(read_settings(made.settings))


def test_the_secret_of_payments(tmp_path: Path) -> None:
    secret = tmp_path / "stripe"
    more = f'[stripe]\nsecret_file = "{secret}"\ncurrency = "eur"\nminor_per_unit = 5\n'
    path = tmp_path / "issuer.toml"
    path.write_text(f'database = "sqlite:////x"\nkeys = "{tmp_path}"\n{more}')
    settings = read_settings(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        serving.stripe_account(settings)
    secret.write_text("\n")
    with pytest.raises(SettingsError, match="empty"):
        serving.stripe_account(settings)
    secret.write_text("whsec_1\n")
    account = serving.stripe_account(settings)
    assert account is not None
    assert (account.secret, account.currency, account.minor_per_unit) == (b"whsec_1", "eur", 5)


_POST = (
    "POST /token-request HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    f"Content-Type: {BATCH}\r\nAuthorization: Bearer "
)


def exchanged(url: str, request: str) -> str:
    """Return what a request is answered that no library of HTTP would send."""
    parsed = httpx.URL(url)
    with socket.create_connection((parsed.host, parsed.port or 80), DEADLINE) as connection:
        connection.sendall(request.encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as answer:
            return answer.read().decode("latin-1")


@dataclass(frozen=True)
class Shop:
    """An issuer that runs, its ledger, and the secret of the one account, which has 100 units."""

    process: IssuerProcess
    ledger: Ledger
    secret: str


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """One for all: what is refused leaves it as it was."""
    folder = tmp_path_factory.mktemp("shop")
    address = f"sqlite:///{folder}/ledger.sqlite3"
    if request.param == "postgresql":
        server: PostgreSql = request.getfixturevalue("postgresql")
        address = server.new_database()
    files = IssuerFiles(folder, address)
    files.write()
    with running_issuer(files) as process:
        engine = open_database(address)
        ledger = Ledger(engine, 1)
        _, secret = open_account(ledger, int(time.time()), units=100)
        yield Shop(process, ledger, secret)
        engine.dispose()


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc", "400"),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nab", "400"),
        ("Transfer-Encoding: chunked\r\n\r\n" + "f" * 40 + "\r\nab", "4"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"),
        ("Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "400"),
        ("Content-Length: 99999999999999999999\r\n\r\nabc", "4"),
        ("Content-Length: 259\r\n\r\nabc", "4"),
        ("SCRIPT_NAME: /token-request\r\nContent-Length: 3\r\n\r\nabc", "4"),
        ("SCRIPT_NAME: /elsewhere\r\nContent-Length: 3\r\n\r\nabc", "4"),
        ("PATH_INFO: /account\r\nContent-Length: 3\r\n\r\nabc", "4"),
    ],
)
def test_malformed_bodies_and_fields_take_nothing_and_end_nothing(
    rest: str, status: str, shop: Shop
) -> None:
    workers = shop.process.all_workers()
    answer = exchanged(shop.process.url, f"{_POST}{shop.secret}\r\n{rest}")
    assert answer.startswith(f"HTTP/1.1 {status}"), answer
    assert outstanding(shop.ledger) == 100
    assert httpx.get(f"{shop.process.url}/").status_code == 200
    assert shop.process.all_workers() == workers


@pytest.mark.parametrize(
    ("octets", "fields", "status"),
    [
        (serving.HEAD_BYTES, serving.HEAD_FIELDS, "404"),
        (serving.HEAD_BYTES + 1, serving.HEAD_FIELDS, "4"),
        (serving.HEAD_BYTES, serving.HEAD_FIELDS + 1, "4"),
    ],
)
def test_a_head_is_as_large_as_is_promised_and_no_larger(
    octets: int, fields: int, status: str, shop: Shop
) -> None:
    line = "GET /{} HTTP/1.1"
    line = line.format("a" * (octets - len(line.format(""))))
    more = "".join(f"X-{number}: x\r\n" for number in range(fields - 2))
    answer = exchanged(shop.process.url, f"{line}\r\nHost: x\r\nConnection: close\r\n{more}\r\n")
    assert answer.startswith(f"HTTP/1.1 {status}"), answer
    assert answer.startswith("HTTP/1.1 404") == (status == "404")


def test_a_listener_of_ip_version_6_is_named_as_the_settings_write_it() -> None:
    names = [serving._address(name) for name in (("::1", 8600, 0, 0), ("127.0.0.1", 8600))]
    assert names == ["tcp://[::1]:8600", "tcp://127.0.0.1:8600"]


def test_gunicorn_opens_nothing_but_what_the_settings_name(plain: IssuerFiles) -> None:
    server = serving._Server(read_settings(plain.settings))
    assert server.cfg.control_socket_disable
    assert [*server.cfg.bind] == [f"127.0.0.1:{port}" for port in (plain.port, plain.metrics_port)]
