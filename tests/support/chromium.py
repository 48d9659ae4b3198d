"""A headless Chromium, driven over its debugging pipe: JSON messages that end with a zero byte."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pytest

DEADLINE = 120.0
"""Seconds after which a test fails rather than hang; nothing is expected to take as long."""

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

SETTINGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
    "--window-size=900,860",
)


KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Tab": ("Tab", 9, ""),
    " ": (" ", 32, " "),
}
"""Keys by their names, with their codes and what they write."""


class Browser:
    """One page of a running browser."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._session: dict[str, str] = {}
        self.events: list[dict[str, Any]] = []
        """What the browser told by itself, of the domains that are enabled."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        attached = self.command("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.command("Page.enable")

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of a command of the DevTools protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str) -> None:
        """Go to `url`."""
        self.command("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression on the page, a promise's once it settles."""
        result = self.command(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            allowUnsafeEvalBlockedByCSP=False,  # the page's policy holds for tests as well
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key of `KEYS`, or the key of one character."""
        name, code, text = KEYS.get(key, (key, 0, key))
        modifiers = 8 if shift else 0
        pressed = {"key": name, "windowsVirtualKeyCode": code, "modifiers": modifiers}
        self.command("Input.dispatchKeyEvent", type="keyDown", text=text, **pressed)
        self.command("Input.dispatchKeyEvent", type="keyUp", **pressed)

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.command("Emulation.setDeviceMetricsOverride", **size)

    def prefer(self, scheme: str) -> None:
        """Prefer a colour scheme: light or dark."""
        wish = {"name": "prefers-color-scheme", "value": scheme}
        self.command("Emulation.setEmulatedMedia", features=[wish])

    def wait_until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + DEADLINE
        while not self.evaluate(expression):
            assert time.monotonic() < deadline, f"never {expression}: {self.text}"
            time.sleep(0.02)

    def wait_for(self, selector: str) -> str:
        """Return the text of the first element that matches, once there is one."""
        expression = f"(document.querySelector({json.dumps(selector)}) || {{}}).textContent"
        deadline = time.monotonic() + DEADLINE
        while (text := self.evaluate(expression)) is None:
            assert time.monotonic() < deadline, f"no {selector} on the page: {self.text}"
            time.sleep(0.02)
        return str(text)

    @property
    def text(self) -> str:
        """All text of the page."""
        return str(self.evaluate("document.body.innerText"))

    def picture(self) -> bytes:
        """Return the page as PNG."""
        return base64.b64decode(self.command("Page.captureScreenshot")["data"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._reading], [], [], DEADLINE)
            assert ready, "Chromium is silent"
            piece = os.read(self._reading, 65536)
            assert piece, "Chromium has ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """Yield a browser with a new profile."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(prefix="oi-", ignore_cleanup_errors=True) as profile:
        # Chromium reads commands from descriptor 3 and writes to 4.
        command_end, writing = os.pipe()
        reading, answer_end = os.pipe()
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import os, sys\n"
                "low = [os.dup2(int(end), 10 + n) for n, end in enumerate(sys.argv[1:3])]\n"
                "for end, standard in zip(low, (3, 4)): os.dup2(end, standard)\n"
                "os.execv(sys.argv[3], sys.argv[3:])",
                *(str(command_end), str(answer_end), CHROMIUM),
                *(*SETTINGS, f"--user-data-dir={profile}"),
            ],
            pass_fds=(command_end, answer_end),
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(command_end)
        os.close(answer_end)
        try:
            yield Browser(reading, writing)
        finally:
            os.close(writing)
            os.close(reading)
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    # Its helper processes are in its group.
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)
