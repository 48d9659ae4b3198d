"""What is in a wallet, told to people and to programs."""

from pathlib import Path

import pytest

from oblivious_client.purchases import Purchase, Purchases
from oblivious_client.token_report import WARNED_SECONDS, as_json, as_text, findings
from oblivious_client.wallet import Pile, Refusals, Wallet
from protocol.private_token import request_token
from tests.support.wallets import C1, C4, C16, NOW, Clock, source_of

ENDS = int(NOW) + 30 * 86400
PILE = Pile("issuer.example", "gateway.example", C4, ENDS, 12, 1, 2, 3)
SHOWN = "2027-02-14 08:00:00 UTC"


@pytest.fixture
def purchase(tmp_path: Path) -> Purchase:
    source = source_of(C16)
    made = [request_token(source.key.key, source.challenge_digest) for _ in range(2)]
    wallet = Wallet(tmp_path / "wallet.sqlite3", clock=Clock())
    return Purchases(wallet).begin(source, "https://issuer.example", b"a" * 16, made)


def test_an_empty_wallet() -> None:
    assert as_text([], [], now=NOW) == "the wallet is empty"
    assert as_json([], [], now=NOW) == {"tokens": [], "purchases": []}


def test_people_see_a_table(purchase: Purchase) -> None:
    assert as_text([PILE], [purchase], now=NOW).split("\n") == [
        "price  ready  aside  in use  unknown  ends                     for",
        f"c4     12     1      2       3        {SHOWN}  gateway.example",
        "2 of c16 were asked for and did not come: `oblivious-client tokens check`",
    ]


def test_a_purchase_alone_is_told_without_a_table(purchase: Purchase) -> None:
    assert as_text([], [purchase], now=NOW).startswith("2 of c16 were asked for")


@pytest.mark.parametrize(
    ("left", "remark"),
    [
        (WARNED_SECONDS + 1, None),
        (WARNED_SECONDS, "18 of c4 end within 7 days"),
        (86400, "18 of c4 end within 1 days"),
        (1, "18 of c4 end within 1 days"),
        (0, "18 of c4 have ended"),
    ],
)
def test_people_are_warned_before_tokens_end(left: int, remark: str | None) -> None:
    lines = as_text([PILE], [], now=ENDS - left).split("\n")
    assert lines[2:] == ([] if remark is None else [remark])


def test_programs_see_the_same(purchase: Purchase) -> None:
    assert as_json([PILE], [purchase], now=ENDS) == {
        "tokens": [
            {
                "price": "c4",
                "issuer": "issuer.example",
                "origin": "gateway.example",
                "ends": ENDS,
                "has_ended": True,
                "ready": 12,
                "aside": 1,
                "held": 2,
                "unknown": 3,
            }
        ],
        "purchases": [{"price": "c16", "issuer": "issuer.example", "count": 2, "begun": NOW}],
    }
    assert as_json([PILE], [], now=ENDS - 1)["tokens"][0]["has_ended"] is False


def test_findings() -> None:
    assert list(findings([], [])) == ["0 tokens can be spent"]
    found = list(findings([PILE, PILE], [Refusals(C1, "token_spent", 2)]))
    assert found == [
        "26 tokens can be spent",
        "6 went with questions that got no answer: usable again an hour after those",
        "2 of c1 were refused (token_spent) that had never left this wallet: was its file copied? "
        "Else the service's operator denied them",
    ]
