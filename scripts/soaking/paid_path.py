"""The paid path under load: Redis, issuer, enclave server and payers; any may be killed."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scripts.local.paid_stack import ISSUER, ORIGIN, PaidStack
from scripts.local.stack import START_SECONDS, Child, StackError
from scripts.soaking.asking import ECHO
from scripts.soaking.path import ATTEMPTS, PORT_SECONDS, kill_process, process_children, served_at

PAYERS = 6
UNITS = 100_000
TOTAL_SECONDS = 10
LEASE_SECONDS = 70
"""The least that a gateway takes for answers of TOTAL_SECONDS."""

WORKER, SERVER, REDIS, ISSUER_PART, CLIENT = "worker", "server", "Redis", "issuer", "client"
PARTS = {SERVER: "enclave server", REDIS: "Redis", ISSUER_PART: "token issuer"}


@dataclass(frozen=True, slots=True)
class Kill:
    """What was killed when, with the workers that ended by it, and when it was back."""

    part: str
    at: float
    workers: tuple[int, ...]
    back: float


class PaidPath(PaidStack):
    """The paid stack with an upstream that takes notes, and payers with a wallet each."""

    def __init__(self) -> None:
        super().__init__()
        self.enclave = "tcp://127.0.0.1:0"
        self.upstream = self.folder / "upstream.sock"
        self.notes = self.folder / "notes"
        self.stop_file = self.folder / "stop"
        self.payers: dict[int, Child] = {}
        self._starter = ThreadPoolExecutor(1)
        self._issuer: Future[None] | None = None

    def start(self) -> None:
        """Start all parts, each when the one before it is ready."""
        command = ["scripts.soaking.noting_upstream", str(self.upstream), str(self.notes)]
        self.launch("upstream", [sys.executable, "-m", *command])
        super().start()
        for number in range(PAYERS):
            self.voucher_of(number).write_text(self.voucher(UNITS))

    def start_server(self) -> Child:
        """Start the enclave server; from then on it has the port that it got."""
        server = super().start_server()
        self.enclave = served_at(server)
        return server

    def start_payer(self, number: int) -> None:
        """Start a payer with the wallet that it has."""
        places = (self.wallet_of(number), self.voucher_of(number), self.journal_of(number))
        arguments = [self.relay, *map(str, places), str(self.stop_file)]
        command = [sys.executable, "-m", "scripts.soaking.payer", *arguments]
        self.payers[number] = Child(f"payer {number}", command, {})

    def wallet_of(self, number: int) -> Path:
        """Return where a payer's wallet is."""
        return self.folder / f"wallet-{number}.sqlite3"

    def voucher_of(self, number: int) -> Path:
        """Return where a payer's voucher is."""
        return self.folder / f"voucher-{number}"

    def journal_of(self, number: int) -> Path:
        """Return where a payer's journal is."""
        return self.folder / f"journal-{number}"

    def kill(self, part: str, chance: random.Random) -> Kill:
        """Kill one part outright, and have it started again, as systemd or its user would."""
        if part == CLIENT:
            return self._kill_payer(chance.randrange(PAYERS))
        if part == ISSUER_PART and not (self._issuer is None or self._issuer.done()):
            return self._kill_payer(chance.randrange(PAYERS))  # it is being started
        workers = tuple(self._some_workers()) if part in (WORKER, SERVER) else ()
        if part == WORKER:
            killed = chance.choice(workers)
            at = time.monotonic()
            kill_process(killed)
            return Kill(part, at, (killed,), at)
        at = time.monotonic()
        self._kill_child(next(each for each in self.children if each.name == PARTS[part]))
        if part == ISSUER_PART:  # it takes a while, in which other parts can be killed
            self._issuer = self._starter.submit(self._begin_again, part)
        else:
            self._begin_again(part)
        return Kill(part, at, workers, time.monotonic())

    def await_issuer(self) -> None:
        """Wait until the issuer has been started again; StackError if it was not."""
        if self._issuer is not None:
            self._issuer.result()

    def _kill_payer(self, number: int) -> Kill:
        at = time.monotonic()
        payer = self.payers[number]
        payer.process.kill()
        payer.stop()
        self.start_payer(number)
        return Kill(CLIENT, at, (), at)

    def _kill_child(self, child: Child) -> None:
        child.process.kill()
        child.stop()
        self.children.remove(child)

    def _begin_again(self, part: str) -> None:
        starts: dict[str, Callable[[], Child]] = {
            SERVER: self.start_server,
            REDIS: self.start_redis,
            ISSUER_PART: self.run_issuer,
        }
        for attempt in range(ATTEMPTS):
            try:
                starts[part]()
            except StackError:
                for child in [each for each in self.children if each.name == PARTS[part]]:
                    self._kill_child(child)
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(PORT_SECONDS)
            else:
                return

    def _some_workers(self) -> list[int]:
        """Return the workers that there are, when there are any."""
        end = time.monotonic() + START_SECONDS
        while not (found := self._workers()):
            if time.monotonic() > end:
                raise StackError("the enclave server has no workers")
            time.sleep(PORT_SECONDS)
        return found

    def _workers(self) -> list[int]:
        server = next(each for each in self.children if each.name == PARTS[SERVER])
        return process_children(server.process.pid)

    def end_payers(self, seconds: float) -> None:
        """Have the payers fetch what they paid for, and end; StackError if one does not."""
        self.stop_file.touch()
        end = time.monotonic() + seconds
        for payer in self.payers.values():
            while payer.process.poll() is None:
                if time.monotonic() > end:
                    raise StackError(payer.complaint("did not end"))
                time.sleep(PORT_SECONDS)
            if payer.process.returncode != 0:
                raise StackError(payer.complaint("failed"))

    def stop(self) -> None:
        """Stop all, the payers first."""
        self._starter.shutdown()
        for payer in self.payers.values():
            payer.process.kill()
            payer.stop()
        super().stop()

    def _write_config(self, keys: str) -> None:
        """Write the enclave's configuration."""
        (self.folder / "enclave.toml").write_text(
            "[server]\nworkers = 2\n"
            f'[tokens]\nrequired = true\nissuer = "{ISSUER}"\nissuer_url = "{self.issuer}"\n'
            f'origin = "{ORIGIN}"\nstore = "redis"\nstore_address = "{self.redis}"\n'
            f"lease_seconds = {LEASE_SECONDS}\n{keys}\n"
            f'[[models]]\nname = "{ECHO}"\nupstream = "echo"\n'
            "budgets.c1 = { input_octets = 2048, output_tokens = 128 }\n"
            f'[upstreams.echo]\naddress = "unix:{self.upstream}"\n'
            f"idle_seconds = {TOTAL_SECONDS}\ntotal_seconds = {TOTAL_SECONDS}\n"
            f"connect_seconds = {TOTAL_SECONDS}\n"
        )
