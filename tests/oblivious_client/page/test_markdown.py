"""Markdown as elements: what each construct becomes, however it arrives."""

import json

import pytest

from tests.support.chat_page import ChatPage

SHOWN = """(async texts => {
  const {show} = await import("/page/markdown.js");
  const place = document.createElement("div");
  const spoken = texts.map(text => show(place, text)).at(-1);
  for (const button of place.querySelectorAll("button")) button.remove();
  const html = place.innerHTML.replaceAll('<div class="block" dir="auto">', "");
  return [html.replaceAll("</div>", ""), spoken];
})"""


def shown(page: ChatPage, *texts: str) -> tuple[str, list[str]]:
    """Return the elements and the spoken lines after each text was shown in one place."""
    html, spoken = page.value(f"{SHOWN}({json.dumps(texts)})")
    return html, spoken


CASES = {
    "a *b* **c** ~~d~~ `e`": "<p>a <em>b</em> <strong>c</strong> <s>d</s> <code>e</code></p>",
    "one\ntwo": "<p>one<br>two</p>",
    "one\n\ntwo": "<p>one</p><p>two</p>",
    "# One\n## Two\n###### Six": "<h3>One</h3><h4>Two</h4><h6>Six</h6>",
    "- a\n- b\n  - c": "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>",
    "3. a\n4. b": '<ol start="3"><li>a</li><li>b</li></ol>',
    "0. a": '<ol start="0"><li>a</li></ol>',
    "> a\n> b": "<blockquote><p>a<br>b</p></blockquote>",
    "---": "<hr>",
    "| a | b |\n| :-: | --: |\n| c | d |": (
        '<div class="table" tabindex="0"><table><thead><tr><th style="text-align: center;">a</th>'
        '<th style="text-align: right;">b</th></tr></thead><tbody><tr>'
        '<td style="text-align: center;">c</td><td style="text-align: right;">d</td></tr></tbody>'
        "</table>"
    ),
    "```python x\na < b\n```": (
        '<figure class="code"><figcaption><span>python</span></figcaption>'
        '<pre tabindex="0"><code>a &lt; b\n</code></pre></figure>'
    ),
    "    a": (
        '<figure class="code"><figcaption><span>code</span></figcaption>'
        '<pre tabindex="0"><code>a\n</code></pre></figure>'
    ),
    "<b>a</b> &amp; &copy;": "<p>&lt;b&gt;a&lt;/b&gt; &amp; ©</p>",
    "[a](https://b.example)": (
        '<p><span class="link">a <span class="address">(https://b.example)</span></span></p>'
    ),
    "<https://b.example>": '<p><span class="link">https://b.example</span></p>',
    "[a](javascript:b)": "<p>[a](javascript:b)</p>",
    "![](https://b.example)": (
        '<p><span class="link">picture: without a description'
        ' <span class="address">(https://b.example)</span></span></p>'
    ),
    "": "",
}


def test_each_construct_becomes_its_elements(page: ChatPage) -> None:
    for text, html in CASES.items():
        assert shown(page, text)[0] == html, text


def test_what_grows_ends_as_what_comes_at_once(page: ChatPage) -> None:
    text = "\n\n".join([*CASES, "[later]", "[later]: https://b.example"])
    prefixes = [text[:end] for end in range(len(text) + 1)]
    assert shown(page, *prefixes) == shown(page, text)
    assert shown(page, text, "short") == shown(page, "short")


def test_blocks_that_do_not_change_stay(page: ChatPage) -> None:
    """A reader may have marked or scrolled them."""
    stays = """(async () => {
      const {show} = await import("/page/markdown.js");
      const place = document.createElement("div");
      show(place, "one\\n\\ntwo");
      const [first, second] = place.children;
      show(place, "one\\n\\ntwo and more\\n\\nthree");
      return [place.children[0] === first, place.children[1] === second, place.children.length];
    })()"""
    assert page.value(stays) == [True, False, 3]


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("**A** `b`\nc", ["A b c"]),
        ("# A\n\n- b\n- c", ["A", "b", "c"]),
        ("a\n```\nb\nc\n```", ["a", "Code, 2 lines."]),
        ("[a](https://b.example) ![c](d)", ["a picture: c"]),
    ],
)
def test_what_is_spoken_has_no_marks(page: ChatPage, text: str, spoken: list[str]) -> None:
    assert shown(page, text)[1] == spoken


def test_code_is_copied_as_it_was_written(page: ChatPage, monkeypatch: pytest.MonkeyPatch) -> None:
    grant = {"origin": page.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.browser.command("Browser.grantPermissions", **grant)
    monkeypatch.setattr("tests.support.gateway.WORDS", ("```sh\nls <a>\n", "```\n"))
    page.ask_and_wait()
    button = "document.querySelector('figure .copy')"
    page.value(f"{button}.click()")
    copied = "navigator.clipboard.readText().then(text => text === 'ls <a>\\n')"
    page.browser.wait_until(copied)
