"""Several turns at a terminal.

Each question is sealed anew and carries the turns before it, as every chat does; nothing ties one
request to the one before it but what is in them, which only the enclave reads. A turn that failed,
or that was interrupted, is no part of what is sent next: the question comes back with a key (the
upwards arrow), and the answer, which nothing proves, is forgotten. Nothing is written to a file
unless `/save` names one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from oblivious_client import archive, asking, release_report, settings
from oblivious_client.answers import Answer
from oblivious_client.asking import Message
from oblivious_client.client import ObliviousClient
from oblivious_client.errors import ClientError, UsageError
from oblivious_client.exits import Exit
from oblivious_client.terminal import allow_editing, fit_for

Chosen = argparse.Namespace
Tell = Callable[[str], None]

PROMPT = "> "
HELP = """\
/new          forget what was said and begin anew
/model NAME   ask another model; without a name tell which is asked
/models       list the models that can be asked
/save FILE    keep the last answer with all that was asked and its evidence
/help         show this
/quit         end; Ctrl-D too
A line that ends with \\ goes on in the next one; // begins a question that starts with a slash.
Ctrl-C stops an answer."""


class Conversation:
    """What was said so far, and the commands that a line can be."""

    def __init__(self, client: ObliviousClient, chosen: Chosen, tell: Tell) -> None:
        self._client = client
        self._chosen = chosen
        self._tell = tell
        self._model = settings.model(chosen)
        self._said: list[Message] = asking.opening(chosen)
        self._images = asking.pictures(chosen)
        self._last: Answer | None = None

    def run(self) -> Exit:
        """Take lines until there are no more."""
        allow_editing()
        self._tell(f"asking {self._model}; /help says what else can be typed")
        while True:
            try:
                line = _line()
            except EOFError:
                print()
                return Exit.OK
            except KeyboardInterrupt:
                print()
                self._tell("nothing was sent; /quit or Ctrl-D ends")
                continue
            try:
                if not self._take(line):
                    return Exit.OK
            except asking.Interrupted:
                continue
            except ClientError as error:
                self._say_error(error)

    def _take(self, line: str) -> bool:
        """Do what a line says; return whether there is to be another."""
        if not line:
            return True
        if not line.startswith("/"):
            self._ask(line)
        elif line.startswith("//"):
            self._ask(line[1:])
        else:
            return self._obey(line)
        return True

    def _obey(self, line: str) -> bool:
        name, _, rest = line.partition(" ")
        rest = rest.strip()
        if name in ("/quit", "/exit"):
            return False
        commands: dict[str, Callable[[str], None]] = {
            "/new": self._begin_anew,
            "/model": self._choose,
            "/models": self._list,
            "/save": self._save,
            "/help": lambda _: self._tell(HELP),
        }
        if name not in commands:
            raise UsageError(
                f"no such command: {name}", advice="/help lists them; // asks what starts with /"
            )
        commands[name](rest)
        return True

    def _ask(self, text: str) -> None:
        question = asking.asked(text, self._images)
        said = [*self._said, question]
        answer = asking.answered(self._client, self._chosen, said, self._model, self._tell)
        self._images = []
        self._last = answer
        self._said = [*said, {"role": "assistant", "content": answer.text}]
        if asking.stopped_at_a_limit(answer):
            self._tell("the model stopped at its limit of tokens")

    def _begin_anew(self, _: str) -> None:
        self._said, self._last = asking.opening(self._chosen), None
        self._tell("forgotten")

    def _choose(self, name: str) -> None:
        self._model = name or self._model
        self._tell(f"asking {self._model}")

    def _list(self, _: str) -> None:
        asking.list_models(self._client)

    def _save(self, name: str) -> None:
        if self._last is None or not name:
            raise UsageError(
                "there is no answer yet" if name else "no file is named", advice="/save FILE"
            )
        path = Path(name).expanduser()
        if path.exists():
            raise UsageError(f"{path} is there already", advice="name another file")
        listed = release_report.relied_on(self._client.transport.source.route.releases)
        archive.save(path, self._last, listed)
        self._tell(f"saved; check it any time with: {archive.check_command(self._chosen, path)}")

    def _say_error(self, error: ClientError) -> None:
        self._tell(fit_for(sys.stderr, f"error: {error}"))
        if error.advice:
            self._tell(fit_for(sys.stderr, f"  {error.advice}"))


def _line() -> str:
    """Return what is typed up to a line that does not go on; raises EOFError at the end."""
    lines = [input(PROMPT)]
    while lines[-1].endswith("\\"):
        lines[-1] = lines[-1][:-1]
        lines.append(input("… "))
    return "\n".join(lines).strip()
