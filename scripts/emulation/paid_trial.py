"""What is tried with an image whose model is paid for: its spent tokens are in Redis on the host.

The enclave's way there is a port of its AF_VSOCK, a hole of host_proxy, and a Unix socket. Issuer,
Redis with its append-only file, wallets and host_proxy are those that people run.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import CompletedProcess

from enclave_server.payment.nullifier import LABEL, nullifier
from enclave_server.payment.settling import FLUSH_SECONDS
from oblivious_client.exits import Exit
from oblivious_client.hand_over import decode
from protocol.private_token import Token
from scripts.emulation import store_watch
from scripts.emulation.device_trial import check_descriptors
from scripts.emulation.emulator import ENCLAVE_CID, SERVER_PORT, Emulator
from scripts.emulation.image_trial import RECIPE, build_image
from scripts.emulation.report import BOOT_SECONDS, Report, TrialFailure
from scripts.emulation.store_watch import StoreWatch
from scripts.emulation.using import MACHINE, QUESTION, Client, boot, host_proxy
from scripts.local.paid_stack import PaidStack, configuration
from scripts.local.stack import Child

STORE_PORT = 8002
STORE_ADDRESS = f"vsock://3:{STORE_PORT}"
PACK = 10
NOT_HEARD = "answered 503"
"""What the client says of a store that does not answer the enclave in time."""
ATTEMPTS = 6
"""To kill Redis between a hold and its commit: an emulated answer takes as long as it is to a
flush, which may come first. A pack of tokens has enough for them."""


class Shop(PaidStack):
    """An issuer and a Redis, and nothing else of the path."""

    def start(self) -> None:
        """Start both."""
        self._redis = self.start_redis()
        self.start_issuer()

    @property
    def store(self) -> Path:
        """Where Redis listens."""
        return Path(self.redis.removeprefix("unix:"))

    def write_config(self) -> Path:
        """Write the enclave's configuration, which is measured."""
        path = self.folder / "enclave.toml"
        keys = self.issuer_command("keys", "list", "--gateway")
        path.write_text(configuration(self.issuer, STORE_ADDRESS, keys))
        return path

    def kill_redis(self) -> None:
        """End Redis as a crash would."""
        killed: Child = self._redis
        killed.process.kill()
        killed.stop()
        self.children.remove(killed)

    def restart_redis(self) -> None:
        """Start it with the files that it left."""
        self._redis = self.start_redis()


@dataclass(frozen=True, slots=True)
class Coin:
    """A token in a file, which any number of wallets can be given."""

    file: Path
    token: Token

    @property
    def name(self) -> bytes:
        """By what the store knows it."""
        return nullifier(LABEL, self.token)


class Payer(Client):
    """The installed command line with a voucher; each question is asked with a wallet of its own.

    Nothing but a copy of a token shows what an enclave says to one that comes again.
    """

    def prepare(self, voucher: str) -> None:
        """Give it what it pays with."""
        self.options += ["--pcrs", str(self.pcrs)]
        self._voucher = self.directory / "voucher"
        self._voucher.write_text(voucher)
        self._own = self.directory / "wallet.sqlite3"
        self._given = 0
        self.shown: Counter[bytes] = Counter()
        self.coins: list[Coin] = []

    def buy(self, price: str) -> None:
        """Buy a pack of tokens, as the person would."""
        pay = ["--voucher", str(self._voucher), "--wallet", str(self._own)]
        self.run("tokens buy", "--price", price, "--count", str(PACK), *pay)

    def coin(self, price: str) -> Coin:
        """Take a token out of the wallet."""
        file = self.directory / f"coin-{len(self.coins)}.json"
        where = ["--price", price, "--count", "1", "--wallet", str(self._own)]
        self.tokens("export", str(file), *where)
        [lot] = decode(file.read_bytes(), str(file))
        [token] = lot.tokens
        self.coins.append(Coin(file, token))
        return self.coins[-1]

    def tokens(self, action: str, *options: str) -> None:
        """Do something with tokens for which nobody is asked."""
        kept, self.options = self.options, []
        try:
            self.run(f"tokens {action}", *options)
        finally:
            self.options = kept

    def pay(self, coin: Coin, framing: str) -> CompletedProcess[str]:
        """Ask with a wallet that holds this token alone."""
        self._given += 1
        wallet = ["--wallet", str(self.directory / f"given-{self._given}.sqlite3")]
        self.tokens("import", str(coin.file), *wallet)
        self.shown[coin.name] += 1
        limits = ["--framing", framing, "--max-tokens", "8"]
        return self.start("chat", *wallet, *limits, QUESTION)

    def paid(self, coin: Coin, framing: str) -> CompletedProcess[str]:
        """Ask, and again while emulation is too slow for a store to be heard in time."""
        deadline = time.monotonic() + BOOT_SECONDS
        done = self.pay(coin, framing)
        while NOT_HEARD in done.stderr and time.monotonic() < deadline:
            time.sleep(1.0)
            done = self.pay(coin, framing)
        return done

    def answered(self, coin: Coin, framing: str, say: Report) -> None:
        """Ask, and have an answer."""
        started = time.monotonic()
        done = self.paid(coin, framing)
        if done.returncode or "Paris" not in done.stdout:
            raise TrialFailure(f"a paid question was answered {done.returncode}: {done.stderr}")
        say(f"paid ({framing}, {time.monotonic() - started:.1f} s): {done.stdout.strip()!r}")

    def refused(self, coin: Coin, *codes: str) -> str:
        """Ask, and be refused; return with which of the codes."""
        done = self.pay(coin, "chunked") if NOT_HEARD in codes else self.paid(coin, "chunked")
        found = [code for code in codes if code in done.stderr]
        if done.returncode not in (Exit.TOKEN_REFUSED, Exit.SERVICE_ERROR) or not found:
            raise TrialFailure(f"{' or '.join(codes)} was wanted: {done.returncode} {done.stderr}")
        return found[0]


def test_paid(work: Path, say: Report) -> None:
    """Pay, pay twice, take Redis away between hold and commit, and read along on the host."""
    with (
        Shop() as shop,
        Emulator(work, say) as emulator,
        StoreWatch(emulator.directory / "watched.sock", shop.store) as watch,
    ):
        say("a token issuer and a Redis run")
        eif_file = work / "paid.eif"
        build_image(replace(RECIPE, configuration=shop.write_config()), work, eif_file, say)
        emulator.answer_heartbeat()
        emulator.start_switch()
        enclave = boot(emulator, eif_file, MACHINE, say)
        hole = f"unix:{emulator.vsock}_{STORE_PORT}=unix:{watch.path}"
        with host_proxy(f"vsock-uds:{emulator.vsock}:{SERVER_PORT}", "--egress", hole) as gateway:
            payer = Payer(gateway, eif_file, emulator)
            payer.verify(say)
            payer.prepare(shop.voucher())
            for price in ("c1", "c4"):
                payer.buy(price)
            say("bought tokens of two prices with a voucher, for keys that the evidence binds")
            _pay(payer, watch, say)
            _lose_the_store(payer, shop, watch, say)
        _read_along(payer, watch, say)
        emulator.stop(enclave)
        check_descriptors(emulator, ENCLAVE_CID, say)


def _pay(payer: Payer, watch: StoreWatch, say: Report) -> None:
    coins = payer.coin("c1"), payer.coin("c4")
    for coin, framing in zip(coins, ("chunked", "whole"), strict=True):
        payer.answered(coin, framing, say)
        payer.refused(coin, "token_in_use", "token_spent")
    _wait("what was spent was not told", lambda: _spent(watch) >= {coin.name for coin in coins})
    for coin in coins:
        payer.refused(coin, "token_spent")
    say("the same tokens again: refused, first as held and then as spent")


def _lose_the_store(payer: Payer, shop: Shop, watch: StoreWatch, say: Report) -> None:
    spent = payer.coins[0]
    for _ in range(ATTEMPTS):
        caught = payer.coin("c4")
        payer.answered(caught, "chunked", say)
        shop.kill_redis()
        if caught.name not in _spent(watch):
            break
        shop.restart_redis()
    else:
        raise TrialFailure(f"flushes came {ATTEMPTS} times before Redis was killed")
    say("Redis killed between hold and commit")
    unlucky = payer.coin("c1")
    payer.refused(unlucky, NOT_HEARD)
    say("meanwhile a token was refused, as nobody can say whether it is spent")
    shop.restart_redis()
    found = payer.refused(caught, "token_in_use", "token_spent")
    say(f"Redis is back with its file: the token of the answer that was under way is {found}")
    _wait("what was spent was not told again", lambda: caught.name in _spent(watch))
    payer.refused(caught, "token_spent")
    payer.refused(spent, "token_spent")
    say("its commit has come, and what was spent before is so still")
    payer.answered(unlucky, "chunked", say)
    payer.refused(unlucky, "token_in_use", "token_spent")


def _read_along(payer: Payer, watch: StoreWatch, say: Report) -> None:
    """Look for what the host must not learn, in all that passed."""
    commands = watch.commands()
    secrets = [
        part
        for coin in payer.coins
        for part in (coin.token.nonce, coin.token.token_key_id, coin.token.authenticator[:32])
    ]
    if found := store_watch.faults(commands, payer.shown, secrets):
        raise TrialFailure(f"the host's view: {'; '.join(found)}")
    kinds = {"hold": store_watch.holds, "spend": store_watch.commits}
    kinds |= {"give back": store_watch.returns}
    counts = ", ".join(f"{len(choose(commands))} {name}" for name, choose in kinds.items())
    say(
        f"the host saw {len(commands)} commands ({counts}) of {len(payer.coins)} tokens of two "
        "prices: each of one length, no value twice but of a token that came twice"
    )


def _spent(watch: StoreWatch) -> set[bytes]:
    """Return the tokens that the store was told are spent."""
    return {command[1] for command in store_watch.commits(watch.commands())}


def _wait(failure: str, happened: Callable[[], bool]) -> None:
    """Wait for a flush, and far longer where emulation is slow."""
    deadline = time.monotonic() + FLUSH_SECONDS + BOOT_SECONDS
    while not happened():
        if time.monotonic() > deadline:
            raise TrialFailure(failure)
        time.sleep(0.2)
