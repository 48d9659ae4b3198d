"""Orders: which octets are one, what it costs, and what is signed."""

import hashlib
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.private_token import REQUEST_BYTES, request_token
from protocol.token_batch import MAX_MEMBERS, decode_responses, encode_requests
from tests.support.issuing import BATCH, CHALLENGE, NOW, SINGLE, basket, key_for, key_ring
from tests.support.private_tokens import epoch
from token_issuer.order import MAX_ORDER_BYTES, read_order
from token_issuer.refusals import Refusal


def test_a_batch_says_what_the_ledger_is_told() -> None:
    requests = [request_token(key_for(price).key, CHALLENGE.digest)[0] for price in (1, 4, 4)]
    body = encode_requests(requests)
    order = read_order(BATCH.encode(), body, key_ring())
    purchase = order.purchase(NOW)
    assert purchase.reference == hashlib.sha256(body).hexdigest()
    assert (purchase.price, purchase.count, purchase.only_price_point) == (9, 3, None)
    assert purchase.tokens == {
        key_for(1).key.key_id.hex(): 1,
        key_for(4).key.key_id.hex(): 2,
    }
    assert purchase.is_issuing
    assert order.answer_type == "application/private-token-generic-batch-response"


def test_one_price_point_is_named() -> None:
    purchase = read_order(BATCH.encode(), basket(2, price=4).body, key_ring()).purchase(NOW)
    assert (purchase.price, purchase.only_price_point) == (8, 4)


def test_an_order_of_two_epochs_is_issued_when_both_are() -> None:
    requests = [request_token(key_for(1, at).key, CHALLENGE.digest)[0] for at in (0, 1)]
    order = read_order(BATCH.encode(), encode_requests(requests), key_ring())
    times = (epoch(0).issue_from, epoch(1).issue_from, epoch(1).issue_until - 1)
    assert [order.purchase(now).is_issuing for now in times] == [False, True, False]


def test_what_is_signed_is_the_same_each_time_and_in_order() -> None:
    wanted = basket(3)
    order = read_order(BATCH.encode(), wanted.body, key_ring())
    assert order.sign() == order.sign()
    assert len(wanted.open(order.sign())) == 3
    single = read_order(SINGLE.encode(), wanted.body[2 : 2 + REQUEST_BYTES], key_ring())
    assert single.sign() == decode_responses(order.sign(), 3)[0]


def test_the_largest_batch_is_smaller_than_what_is_read() -> None:
    wanted = basket(1)
    members = wanted.body[2:] * MAX_MEMBERS
    body = b"\x80\x00" + len(members).to_bytes(2, "big") + members
    assert len(body) < MAX_ORDER_BYTES
    assert len(read_order(BATCH.encode(), body, key_ring()).members) == MAX_MEMBERS


@given(st.sampled_from([SINGLE, BATCH]), st.binary() | st.binary(min_size=259, max_size=261))
def test_whatever_else_comes_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        read_order(kind.encode(), b"\0\3" + body, key_ring())
    assert refused.value.status == HTTPStatus.UNPROCESSABLE_ENTITY


def test_other_media_types_are_refused() -> None:
    with pytest.raises(Refusal) as refused:
        read_order(b"application/json", basket(1).body, key_ring())
    assert refused.value.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE


def test_an_order_is_shown_by_its_name_alone() -> None:
    order = read_order(BATCH.encode(), basket(2).body, key_ring())
    shown = f"Order(reference={order.reference!r}, answer_type={order.answer_type!r})"
    assert repr(order) == shown
