"""The page of a balance: in a browser, and by a policy that lets nothing else in."""

import base64
import hashlib
import re
import time
from pathlib import Path

import httpx
import pytest

from tests.support.chromium import needs_chromium, running_browser
from tests.support.issuer_process import IssuerFiles, running_issuer
from token_issuer.administration import open_account
from token_issuer.page import POLICY, page
from token_issuer.settings import read_settings
from token_issuer.upgrade import upgraded_ledger


def test_the_policy_names_what_the_document_has_and_nothing_else() -> None:
    answer = page()
    text = answer.get_data(as_text=True)
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    for element in ("script", "style"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in POLICY
    assert "'unsafe" not in POLICY
    assert POLICY.startswith("default-src 'none'; ")
    assert not re.search(r"https?://|src=|href=|style=|onclick|storage|cookie", text, re.IGNORECASE)


@pytest.fixture
def files(tmp_path: Path) -> IssuerFiles:
    # As many as the spare connections of a browser, each of which keeps one waiting.
    made = IssuerFiles(tmp_path, f"sqlite:///{tmp_path}/ledger.sqlite3", workers=4)
    made.write()
    return made


@needs_chromium
def test_somebody_with_a_voucher_sees_its_balance(files: IssuerFiles) -> None:
    now = int(time.time())
    with upgraded_ledger(read_settings(files.settings)) as ledger:
        number, secret = open_account(ledger, now, units=321)
    with running_issuer(files) as issuer, running_browser() as browser:
        assert httpx.get(issuer.url).status_code == 200
        browser.open(issuer.url)
        browser.wait_for("#form")
        browser.evaluate(f"document.getElementById('secret').value = ' {secret.lower()}'")
        browser.evaluate("document.querySelector('button').click()")
        browser.wait_for("#account:not([hidden]) tbody tr")
        assert f"321 units (account {number})" in browser.text
        assert "voucher\t321" in browser.text
        browser.evaluate(f"document.getElementById('secret').value = '{secret}A'")
        browser.evaluate("document.querySelector('button').click()")
        browser.wait_for("#account[hidden]")
        browser.evaluate(
            "new Promise(done => setInterval(() => "
            "document.getElementById('status').textContent.length > 1 && done(), 10))"
        )
        assert "No voucher that can be spent has this number." in browser.text
