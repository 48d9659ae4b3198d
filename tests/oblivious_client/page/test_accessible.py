"""axe-core, somebody else's oracle of accessibility, on the page in each of its states."""

import functools
import json
import shutil
import subprocess

import pytest

from scripts.local.page_library import installed
from tests.support.chat_page import ChatPage, pieces
from tests.support.page_pictures import ANSWER

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = f"""axe.run(document, {{runOnly: {json.dumps(RULES)}}}).then(found => ({{
  broken: found.violations.map(each => [each.id, each.nodes.map(node => node.target.join(" "))]),
  passed: found.passes.length,
}}))"""


@functools.cache
def axe() -> str:
    """Return axe-core's script, as it is locked."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    try:
        packages = installed()
    except subprocess.CalledProcessError:
        pytest.skip("the registry of axe-core does not answer")
    return (packages / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def check(page: ChatPage) -> None:
    """Fail where axe-core finds something."""
    page.browser.evaluate("typeof axe === 'undefined'") and page.value(f"{axe()}; null")
    found = page.value(RUN)
    assert found["broken"] == []
    assert found["passed"] > 15


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_no_rule_is_broken(
    page: ChatPage, monkeypatch: pytest.MonkeyPatch, scheme: str, width: int
) -> None:
    monkeypatch.setattr("tests.support.gateway.WORDS", pieces(ANSWER))
    page.browser.prefer(scheme)
    page.browser.resize(width, 740)
    page.gateway.chat.thought = "Think."
    page.open()
    check(page)
    page.ask_and_wait("A *question*?")
    page.value("document.querySelector('.thought').open = at('evidence').open = true")
    page.value("at('show-role').click()")
    check(page)
    page.gateway.faults.cut_after = 6
    page.ask_and_wait("And once more?")
    check(page)
    page.value("at('evidence').open = false, at('new').click()")
    check(page)
