"""A program that has children use a wallet and kills each at a random moment, one after another.

    python -m tests.support.killing buy WALLET ISSUER CATALOGUE KILLS SECONDS
    python -m tests.support.killing spend WALLET GATEWAY CATALOGUE KILLS SECONDS

CATALOGUE is a file; SECONDS is within which a child is killed. It forks, so that a child costs
nothing to start. At the end it prints how many were let do something first.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from oblivious_client.client import ObliviousClient
from oblivious_client.errors import ClientError
from oblivious_client.issuance import Buyer
from oblivious_client.policy import Policy, Simulated
from oblivious_client.wallet import Wallet
from protocol.token_catalogue import Catalogue
from protocol.token_prices import PricePoint

MODEL = "stand-in"
SECRET = "OBL-ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def buy(wallet: Wallet, _: str, catalogue: Catalogue, tell: Callable[[], object]) -> None:
    """Finish what was interrupted, then buy, for ever; what fails is tried again."""
    buyer = Buyer(wallet, SECRET)
    while True:
        try:
            buyer.resume()
            buyer.buy(catalogue, PricePoint(1), 10)
        except ClientError:
            time.sleep(0.005)
        tell()


def spend(wallet: Wallet, gateway: str, _: Catalogue, tell: Callable[[], object]) -> None:
    """Ask, for ever; what is refused or missing is another question's matter."""
    policy = Policy(simulated=Simulated.ALLOWED)
    with ObliviousClient(gateway, policy=policy, wallet=wallet) as client:
        while True:
            try:
                client.chat("Hello", model=MODEL)
            except ClientError:
                time.sleep(0.005)
            tell()


def main() -> int:
    """Fork and kill; return the exit code."""
    what, path, place, listed, kills, seconds = sys.argv[1:]
    work = {"buy": buy, "spend": spend}[what]
    catalogue = Catalogue.decode(Path(listed).read_bytes())
    did = 0
    for number in range(int(kills)):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                work(Wallet(path), place, catalogue, partial(os.write, writer, b"."))
            finally:
                os._exit(1)  # never reached but by a failure, which shows as status 1
        os.close(writer)
        # On a busy machine all would be killed before they did anything: every other one is let do.
        if number % 2:
            did += bool(os.read(reader, 1))
        time.sleep(random.uniform(0, float(seconds)))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            print("a child ended by itself", file=sys.stderr)
            return 1
        os.close(reader)
    print(did)
    return 0


if __name__ == "__main__":
    sys.exit(main())
