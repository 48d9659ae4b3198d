"""Pictures of the page, as documents show it.

    python -m tests.support.page_pictures

writes docs/page.png, docs/page-dark.png and docs/page-small.png, from the page in a headless
Chromium with a stand-in behind it.
"""

from __future__ import annotations

from pathlib import Path

from tests.support import gateway as stand_in
from tests.support.chat_page import ChatPage, pieces
from tests.support.chromium import Browser, running_browser
from tests.support.local_endpoint import serving

DOCS = Path(__file__).resolve().parents[2] / "docs"

QUESTION = "Write Euclid's algorithm in Python.\nShow the steps for 48 and 18."
THOUGHT = "The greatest common divisor is asked for. A loop is the shortest."
ANSWER = """\
Euclid's algorithm replaces the larger number by the **remainder** until nothing is left:

```python
def gcd(a: int, b: int) -> int:
    \"\"\"Return the greatest common divisor of two numbers.\"\"\"
    while b:
        a, b = b, a % b
    return a
```

| step | a | b |
| ---: | ---: | ---: |
| 1 | 48 | 18 |
| 2 | 18 | 12 |
| 3 | 12 | 6 |
| 4 | 6 | 0 |

So it is 6. It ends because `b` becomes smaller with each step:
[Euclid, book VII](https://mathcs.clarku.edu/~djoyce/elements/bookVII/propVII2.html).
"""

SIZES = {"page": (1280, 900), "page-dark": (900, 900), "page-small": (360, 740)}


def main() -> None:
    """Write the pictures."""
    with (
        stand_in.StandInGateway() as gateway,
        serving(gateway) as url,
        running_browser() as browser,
    ):
        stand_in.WORDS = pieces(ANSWER)
        gateway.chat.thought = THOUGHT
        page = ChatPage(browser, url, gateway)
        for name, (width, height) in SIZES.items():
            browser.resize(width, height)
            browser.prefer("dark" if name == "page-dark" else "light")
            page.open()
            page.ask_and_wait(QUESTION)
            (DOCS / f"{name}.png").write_bytes(picture(browser))


def picture(browser: Browser) -> bytes:
    """Return the page as PNG, once it has been drawn."""
    browser.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    return browser.picture()


if __name__ == "__main__":
    main()
