"""Ask a sealed question through the whole path on this machine, or keep the path up.

    scripts/demo "What is the capital of France?"
    scripts/demo --paid "What is the capital of France?"
    scripts/demo --serve
    scripts/demo --serve --paid
    scripts/demo --enclaves 3 --serve
    scripts/demo --serve --port 8080

The answer goes to standard output, everything else to standard error. With --serve one JSON
line with the URLs of `relay` and `gateway` goes to standard output; Ctrl-C ends it. With --paid a
question costs a token: an issuer and a Redis are started as well, and tokens are bought with a
voucher. With --enclaves several servers share one set of keys behind HAProxy; when one is killed,
the others go on. A demo that is killed outright ends its parts too, and leaves a folder oblivious-…
in /tmp that nobody reads.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from scripts.local import front
from scripts.local.environment import Display
from scripts.local.paid_stack import PaidStack
from scripts.local.stack import PROGRAMS, Child, Stack, StackError

WATCH_SECONDS = 0.5  # how soon it shows that a part has died
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MAX_PORT = 65535
stopping = threading.Event()


class Stopped(BaseException):
    """A signal asked this program to end."""


def on_signal(_: int, __: FrameType | None) -> None:
    """End at the next good moment; asked again meanwhile, go on ending."""
    if not stopping.is_set():
        stopping.set()
        raise Stopped


class Narrator:
    """Tells on standard error what is going on."""

    def __init__(self) -> None:
        self.display = Display()

    def waiting(self, name: str, seconds: float) -> None:
        """Show that a part is being waited for."""
        self.display.progress(f"starting the {name}: {seconds:.0f} s", time.monotonic())

    def say(self, text: str) -> None:
        """Print a line."""
        self.display.say(text)

    def fail(self, text: str) -> None:
        """Print an error whose last line says what happened."""
        *before, sentence = text.split("\n")
        self.say("\n".join([*before, f"error: {sentence}"]))


def describe(stack: Stack, narrator: Narrator, seconds: float) -> None:
    """Say what has been started."""
    narrator.say(f"The whole path is up after {seconds:.1f} s:")
    narrator.say(f"  relay           {stack.relay}")
    if stack.enclaves > 1:
        narrator.say(f"  HAProxy         {stack.gateway}")
        running = ", ".join(str(each.process.pid) for each in stack.members.values())
        narrator.say(f"  enclave servers {stack.enclaves} that share one set of keys: {running}")
    else:
        narrator.say(f"  host proxy      {stack.gateway}")
        narrator.say(f"  enclave server  {stack.enclave}")
    if isinstance(stack, PaidStack):
        narrator.say(f"  token issuer    {stack.issuer}")
        narrator.say(f"  Redis           {stack.redis}")
    narrator.say("This is a trial on one machine. The enclave is simulated: it proves nothing.")


def client(stack: Stack, *arguments: str) -> list[str]:
    """Return a command line of the client's, that ends with what the arguments end with."""
    command, *rest = arguments
    words = [command, rest.pop(0)] if command == "tokens" else [command]
    options = ["--relay", stack.relay, "--allow-simulated"]
    return [str(PROGRAMS / "oblivious-client"), *words, *options, *rest]


def environment_of(stack: Stack) -> dict[str, str]:
    """Return an environment in which the client keeps all that it keeps beside the stack."""
    kept = {"XDG_CACHE_HOME": "cache", "OBLIVIOUS_WALLET": "wallet.sqlite3"}
    return os.environ | {name: str(stack.folder / place) for name, place in kept.items()}


def buy(stack: PaidStack, narrator: Narrator) -> int:
    """Buy tokens with a voucher and show the wallet; return the client's exit code."""
    voucher = stack.folder / "voucher"
    voucher.write_text(stack.voucher())
    narrator.say("\nBuying tokens with a voucher, for keys that the evidence binds:")
    command = client(stack, "tokens", "buy", "--count", "10", "--voucher", str(voucher))
    bought = subprocess.run(command, env=environment_of(stack), stdout=sys.stderr, check=False)
    return bought.returncode or show_wallet(stack, "before", narrator)


def show_wallet(stack: Stack, when: str, narrator: Narrator) -> int:
    """Show what is in the wallet; return the client's exit code."""
    narrator.say(f"\nThe wallet {when} the question:")
    command = [str(PROGRAMS / "oblivious-client"), "tokens", "list"]
    environment = environment_of(stack)
    return subprocess.run(command, env=environment, stdout=sys.stderr, check=False).returncode


def ask_and_pay(stack: PaidStack, question: str, narrator: Narrator) -> int:
    """Buy, ask, and show the wallet before and after; return the client's exit code."""
    return (
        buy(stack, narrator)
        or ask(stack, question, narrator)
        or show_wallet(stack, "after", narrator)
    )


def ask(stack: Stack, question: str, narrator: Narrator) -> int:
    """Show the verified evidence, then the answer; return the client's exit code."""
    environment = environment_of(stack)
    narrator.say("\nWhat the client verified before it sealed anything:")
    verified = subprocess.run(
        client(stack, "verify"), stdout=sys.stderr, env=environment, check=False
    )
    if verified.returncode != 0:
        narrator.say("error: the evidence did not verify, so nothing was asked.")
        return verified.returncode
    narrator.say(f"\nSealed question: {question}\nAnswer:")
    chat = client(stack, "chat", "--", question)
    # The question is whole: what comes on standard input is for somebody else.
    asked = subprocess.run(chat, env=environment, stdin=subprocess.DEVNULL, check=False)
    return asked.returncode


def serve(stack: Stack, narrator: Narrator) -> int:
    """Keep the path up until a signal comes or a part dies."""
    urls, voucher = {"relay": stack.relay, "gateway": stack.gateway}, ""
    if isinstance(stack, PaidStack):
        urls |= {"issuer": stack.issuer, "voucher": stack.voucher()}
        voucher = (
            f"  export OBLIVIOUS_ISSUER_KEY={urls['voucher']}\n"
            "  .venv/bin/oblivious-client tokens buy --allow-simulated\n"
        )
    program = Path("scripts") / "demo"
    narrator.say(
        f"In another shell:\n  export OBLIVIOUS_RELAY={stack.relay}\n{voucher}"
        '  .venv/bin/oblivious-client chat --allow-simulated "Hello"\n'
        f"{program} goes on until Ctrl-C."
    )
    # Last: a program that has read this line may end the demo, and all else has been said.
    print(json.dumps(urls), flush=True)
    told: list[Child] = []
    while (broken := stack.broken()) is None:
        for part in stack.lost():
            if part not in told:
                told.append(part)
                narrator.say(f"The {part.name} has ended; the others go on.")
        time.sleep(WATCH_SECONDS)
    status = broken.process.returncode
    narrator.fail(broken.complaint(f"ended by itself with status {status}"))
    return 1


def run(arguments: argparse.Namespace) -> int:
    """Bring the path up and use it."""
    narrator = Narrator()
    begun = time.monotonic()
    try:
        if arguments.paid:
            made: Stack = PaidStack(report=narrator.waiting, relay_port=arguments.port)
        else:
            made = Stack(
                report=narrator.waiting, enclaves=arguments.enclaves, relay_port=arguments.port
            )
        with made as stack:
            describe(stack, narrator, time.monotonic() - begun)
            if arguments.serve:
                return serve(stack, narrator)
            question = " ".join(arguments.question)
            if isinstance(stack, PaidStack):
                return ask_and_pay(stack, question, narrator)
            return ask(stack, question, narrator)
    except StackError as error:
        narrator.fail(str(error))
        return 1
    except Stopped:
        narrator.say("stopped" if arguments.serve else "interrupted")
        return 0 if arguments.serve else 130


def port(text: str) -> int:
    """Return a TCP port; 0 is any that is free."""
    number = int(text)
    if not 0 <= number <= MAX_PORT:
        raise ValueError(text)
    return number


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--paid", action="store_true", help="let questions cost a token")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("question", nargs="*", default=[], help="what to ask")
    what.add_argument("--serve", action="store_true", help="keep the path up instead")
    parser.add_argument(
        "--enclaves",
        type=int,
        choices=range(1, front.MOST_ENCLAVES + 1),
        default=1,
        help="a cluster of so many behind HAProxy, which has to be installed (default 1)",
    )
    parser.add_argument("--port", type=port, default=0, help="where the relay listens")
    arguments = parser.parse_args()
    if not arguments.serve and not " ".join(arguments.question).strip():
        parser.error("there is no question: write one, or --serve")
    if arguments.paid and arguments.enclaves > 1:
        parser.error("--paid is tried with one enclave")
    for number in SIGNALS:
        signal.signal(number, on_signal)
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
