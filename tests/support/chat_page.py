"""The page of the local endpoint as a person uses it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from tests.support.chromium import Browser
from tests.support.gateway import StandInGateway


@dataclass(frozen=True, slots=True)
class ChatPage:
    """An open page, and the stand-in that answers it."""

    browser: Browser
    url: str
    gateway: StandInGateway

    def open(self, fragment: str = "") -> None:
        """Open the page anew, and wait until it has evidence and models."""
        self.load(fragment)
        self.browser.wait_for("option")

    def load(self, fragment: str = "") -> None:
        """Open the page anew, and wait until its scripts run."""
        self.browser.open("about:blank")
        self.browser.open(self.url + "/" + fragment)
        self.browser.wait_until(
            "location.href !== 'about:blank' && document.readyState === 'complete'"
        )
        self.browser.evaluate("window.at = id => document.getElementById(id), null")

    def value(self, expression: str) -> Any:
        """Return the value of a JavaScript expression; `at` finds an element by its id."""
        return self.browser.evaluate(expression)

    def count(self, selector: str) -> int:
        """Return how many elements match."""
        return int(self.value(f"document.querySelectorAll({json.dumps(selector)}).length"))

    def write(self, question: str) -> None:
        """Write a question and do not ask it."""
        self.value(f"at('question').focus(), at('question').value = {json.dumps(question)}")

    def ask(self, question: str) -> None:
        """Ask, and do not wait."""
        self.write(question)
        self.value("at('send').click()")

    def ask_and_wait(self, question: str = "And of Spain?") -> str:
        """Ask, and return how the turn ended."""
        ends = self.count(".end")
        self.ask(question)
        self.browser.wait_until(f"document.querySelectorAll('.end').length > {ends}")
        self.browser.wait_until("at('stop').hidden")
        return str(self.value("[...document.querySelectorAll('.end')].at(-1).textContent"))

    def asked(self) -> list[dict[str, Any]]:
        """Return the messages of the last question that reached the enclave."""
        messages: list[dict[str, Any]] = json.loads(self.gateway.chat.inner[-1].content)["messages"]
        return messages

    @property
    def question(self) -> str:
        """What stands in the field."""
        return str(self.value("at('question').value"))


def pieces(text: str) -> tuple[str, ...]:
    """Return a text in pieces as models write it: a word and the space behind it."""
    return tuple(re.findall(r"\s*\S+\s*", text)) or (text,)
