"""What a model writes is hostile: it runs nothing, loads nothing and leads nowhere."""

import json
import re

import pytest

from tests.oblivious_client.page.attacks import HTML, MARKDOWN
from tests.support.chat_page import ChatPage, pieces

LINE_END = re.compile(r"\r\n?")

ATTACKS = [*MARKDOWN, *HTML]

ELEMENTS = {
    *(
        "article",
        "blockquote",
        "br",
        "button",
        "code",
        "details",
        "div",
        "em",
        "figcaption",
        "figure",
    ),
    *("h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span", "strong", "summary"),
    *("table", "tbody", "td", "th", "thead", "tr", "ul"),
}
"""What an answer may consist of: nothing that loads, runs, asks or leads somewhere."""
ATTRIBUTES = {"class", "dir", "start", "style", "tabindex", "type"}
CLASSES = {"address", "block", "code", "copy", "link", "table"}
STYLES = {"text-align: center;", "text-align: right;"}

# Each text is shown as it grows, as a stream shows it, and then looked at.
SHOW_ALL = """(async texts => {
  const {show} = await import("/page/markdown.js");
  const place = document.body.appendChild(document.createElement("div"));
  const found = {elements: new Set(), attributes: new Set(), classes: new Set(), styles: new Set()};
  for (const text of texts) {
    const step = Math.max(1, Math.floor(text.length / 12));
    for (let end = step; end < text.length; end += step) show(place, text.slice(0, end));
    show(place, text);
    for (const element of place.querySelectorAll("*")) {
      found.elements.add(element.localName);
      for (const {name} of element.attributes) found.attributes.add(name);
      for (const name of element.classList) found.classes.add(name);
      if (element.hasAttribute("style")) found.styles.add(element.getAttribute("style"));
    }
  }
  await new Promise(done => setTimeout(done, 200));
  place.remove();
  return Object.fromEntries(Object.entries(found).map(([name, set]) => [name, [...set]]));
})"""

WATCH = """window.ran = [];
for (const name of ["alert", "confirm", "prompt", "open", "print"])
  window[name] = (...given) => { ran.push([name, ...given]); };
addEventListener("securitypolicyviolation", event => {
  ran.push(["violation", event.violatedDirective]);
});
null"""


def requests(page: ChatPage) -> list[str]:
    """Return what the browser has asked for, beside this endpoint."""
    urls = [
        event["params"]["request"]["url"]
        for event in page.browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith((page.url, "data:,"))]


@pytest.fixture
def watched(page: ChatPage) -> ChatPage:
    """The page, where whatever runs or is asked for is kept."""
    page.browser.events.clear()
    page.browser.command("Network.enable")
    page.value(WATCH)
    return page


@pytest.mark.parametrize("is_bare", [False, True], ids=["with the policy", "without the policy"])
def test_no_text_becomes_more_than_words(watched: ChatPage, is_bare: bool) -> None:
    """The rendering alone has to hold, with no policy of the browser's behind it."""
    browser = watched.browser
    if is_bare:
        browser.command("Page.setBypassCSP", enabled=True)
        watched.open()
        watched.value(WATCH)
    try:
        before = watched.value("location.href")
        found = watched.value(f"{SHOW_ALL}({json.dumps(ATTACKS)})")
        assert watched.value("ran") == []
        assert watched.value("location.href") == before
    finally:
        browser.command("Page.setBypassCSP", enabled=False)
    assert requests(watched) == []
    assert set(found["elements"]) <= ELEMENTS
    assert set(found["attributes"]) <= ATTRIBUTES
    assert set(found["classes"]) <= CLASSES
    assert set(found["styles"]) <= STYLES
    assert {"table", "code", "ol", "h3"} <= set(found["elements"])  # so they were rendered


def test_no_answer_runs_anything(watched: ChatPage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same by the whole way: from the enclave, in a stream, as an answer and as a thought."""
    text = "\n\n".join(ATTACKS)
    parts = tuple(text[start : start + 500] for start in range(0, len(text), 500))
    monkeypatch.setattr("tests.support.gateway.WORDS", parts)
    watched.gateway.chat.thought = text
    assert watched.ask_and_wait(text).startswith("complete")
    watched.value("document.querySelectorAll('.thought').forEach(fold => { fold.open = true; })")
    names = watched.value("[...document.querySelectorAll('#talk *')].map(each => each.localName)")
    assert set(names) <= ELEMENTS
    assert watched.value("ran") == []
    assert requests(watched) == []
    assert watched.browser.wait_for(".thought div") == text
    assert watched.browser.wait_for(".user .text") == LINE_END.sub("\n", text)  # by the field


def test_html_is_shown_as_it_was_written(page: ChatPage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.gateway.WORDS", ("<img src=x ", "onerror=alert(1)>"))
    page.ask_and_wait()
    assert page.browser.wait_for(".assistant .text") == "<img src=x onerror=alert(1)>"


def test_links_and_pictures_are_words_with_their_addresses(
    page: ChatPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[the bank](https://evil.example/?q=secret) ![a cat](https://evil.example/cat.png)"
    monkeypatch.setattr("tests.support.gateway.WORDS", pieces(text))
    page.ask_and_wait()
    assert page.browser.wait_for(".assistant .text") == (
        "the bank (https://evil.example/?q=secret) picture: a cat (https://evil.example/cat.png)"
    )


# What would happen if some text became markup all the same.
BREACHES = [
    "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=alert(1)>')",
    "document.body.innerHTML = '<script>alert(1)</script>'",
    "document.createElement('script').textContent = 'alert(1)'",
    "document.createElement('script').src = '/page/main.js'",
    "document.createElement('iframe').srcdoc = '<script>alert(1)</script>'",
    "new Function('alert(1)')()",
    "setTimeout('alert(1)')",
    "document.write('<p>more</p>')",
]


def test_the_browser_refuses_what_makes_markup_of_text(page: ChatPage) -> None:
    for breach in BREACHES:
        caught = f"try {{ {breach}; 'done' }} catch (error) {{ error.name }}"
        assert page.value(caught) in ("TypeError", "EvalError"), breach


LOADS = {
    "img-src": "Object.assign(new Image(), {src: 'https://evil.example/x.png'})",
    "connect-src": "fetch('https://evil.example/').catch(() => {})",
    "frame-src": "document.body.append(Object.assign(document.createElement('iframe'),"
    " {src: '/'}))",
    "style-src-elem": "document.head.append(Object.assign(document.createElement('style'),"
    " {textContent: 'p {}'}))",
    "form-action": "(form => { document.body.append(form); form.submit(); })"
    "(Object.assign(document.createElement('form'), {action: 'https://evil.example/'}))",
    "media-src": "new Audio('https://evil.example/x.ogg').load()",
}


def test_the_browser_refuses_what_loads_or_leads_elsewhere(watched: ChatPage) -> None:
    for directive, attempt in LOADS.items():
        watched.value(f"ran.length = 0, {attempt}, null")
        watched.browser.wait_until("ran.length > 0")
        assert ["violation", directive] in watched.value("ran")
    assert watched.value("location.host") in watched.url


def test_no_other_answer_can_be_run(page: ChatPage) -> None:
    for path in ("/evidence", "/health", "/v1/models"):
        outcome = f"import('{path}').then(() => 'run', error => error.name)"
        assert page.value(outcome) == "TypeError", path
