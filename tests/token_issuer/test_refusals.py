"""Refusals: a status, figures, and no word of the reason."""

import json
from http import HTTPStatus

import pytest

from token_issuer.refusals import Refusal, payment_required, too_many, unauthorized, unavailable

REFUSALS = [
    (unauthorized(), 401, {}, {"WWW-Authenticate": "Bearer"}),
    (payment_required(3, 4), 402, {"balance": 3, "price": 4}, {}),
    (too_many(7), 429, {}, {"Retry-After": "7"}),
    (unavailable(), 503, {}, {"Retry-After": "5"}),
    (Refusal(HTTPStatus.UNPROCESSABLE_ENTITY), 422, {}, {}),
]


@pytest.mark.parametrize(("refusal", "status", "members", "fields"), REFUSALS)
def test_the_document(
    refusal: Refusal, status: int, members: dict[str, int], fields: dict[str, str]
) -> None:
    answer = refusal.response()
    title = HTTPStatus(status).phrase
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    about = {"type": "about:blank", "title": title, "status": status}
    assert json.loads(answer.get_data()) == {**about, **members}
    own = {"Content-Type", "Content-Length", "Cache-Control"}
    assert {name: value for name, value in answer.headers if name not in own} == fields
