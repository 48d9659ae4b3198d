"""What an account's owner is told; `test_application.py` has the whole answer."""

from tests.support.issuing import NOW, Shop, basket, key_ring
from token_issuer.account_secret import secret_digest
from token_issuer.accounts import Allowance
from token_issuer.statement import LINES, statement


def test_an_account_without_an_allowance_has_none(shop: Shop) -> None:
    _, secret = shop.voucher(7)
    account = shop.ledger.find(secret_digest(secret), int(NOW))
    assert account is not None
    told = statement(shop.ledger, account, key_ring(), NOW)
    assert (told["allowance"], told["expires"], told["balance"]) == (None, None, 7)


def test_what_came_out_of_an_allowance_is_told(shop: Shop) -> None:
    _, secret = shop.voucher(LINES + 5, allowance=Allowance(2, 1, 86400))
    shop.buy(secret, basket(3).body)
    account = shop.ledger.find(secret_digest(secret), int(NOW))
    assert account is not None
    told = statement(shop.ledger, account, key_ring(), NOW)
    assert told["allowance"]["left"] == 0
    entry = told["entries"][0]
    assert (entry["amount"], entry["allowed"], entry["tokens"]) == (-1, 2, 3)


def test_prices_are_of_what_is_sold_now(shop: Shop) -> None:
    _, secret = shop.voucher(1)
    account = shop.ledger.find(secret_digest(secret), int(NOW))
    assert account is not None
    assert statement(shop.ledger, account, key_ring(), 0)["prices"] == {}
