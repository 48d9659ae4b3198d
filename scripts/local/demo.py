"""Ask a sealed question through the whole path on this machine, or keep the path up.

    scripts/demo "What is the capital of France?"
    scripts/demo --serve --port 8080

The answer goes to standard output, everything else to standard error. With --serve one JSON
line with the URLs of `relay` and `gateway` goes to standard output; Ctrl-C ends it. A demo that is
killed outright ends its parts too, and leaves a folder oblivious-… in /tmp that nobody reads.
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

from scripts.local.environment import Display
from scripts.local.stack import PROGRAMS, Stack, StackError

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
    narrator.say(f"  host proxy      {stack.gateway}")
    narrator.say(f"  enclave server  {stack.enclave}")
    narrator.say("This is a trial on one machine. The enclave is simulated: it proves nothing.")


def client(stack: Stack, command: str, *arguments: str) -> list[str]:
    """Return a command line of the client's."""
    options = ["--relay", stack.relay, "--allow-simulated"]
    return [str(PROGRAMS / "oblivious-client"), command, *options, *arguments]


def ask(stack: Stack, question: str, narrator: Narrator) -> int:
    """Show the verified evidence, then the answer; return the client's exit code."""
    environment = os.environ | {"XDG_CACHE_HOME": str(stack.folder / "cache")}
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
    print(json.dumps({"relay": stack.relay, "gateway": stack.gateway}), flush=True)
    program = Path("scripts") / "demo"
    narrator.say(
        f"In another shell:\n  export OBLIVIOUS_RELAY={stack.relay}\n"
        '  .venv/bin/oblivious-client chat --allow-simulated "Hello"\n'
        f"{program} goes on until Ctrl-C."
    )
    while (broken := stack.broken()) is None:
        time.sleep(WATCH_SECONDS)
    status = broken.process.returncode
    narrator.fail(broken.complaint(f"ended by itself with status {status}"))
    return 1


def run(arguments: argparse.Namespace) -> int:
    """Bring the path up and use it."""
    narrator = Narrator()
    begun = time.monotonic()
    try:
        with Stack(report=narrator.waiting, relay_port=arguments.port) as stack:
            describe(stack, narrator, time.monotonic() - begun)
            if arguments.serve:
                return serve(stack, narrator)
            return ask(stack, " ".join(arguments.question), narrator)
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
    what = parser.add_mutually_exclusive_group()
    what.add_argument("question", nargs="*", default=[], help="what to ask")
    what.add_argument("--serve", action="store_true", help="keep the path up instead")
    parser.add_argument("--port", type=port, default=0, help="where the relay listens")
    arguments = parser.parse_args()
    if not arguments.serve and not " ".join(arguments.question).strip():
        parser.error("there is no question: write one, or --serve")
    for number in SIGNALS:
        signal.signal(number, on_signal)
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
