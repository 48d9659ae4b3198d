"""The cases in which a token buys nothing."""

from enclave_server.payment.refusals import CODES, Refusal, Refused


def test_each_case_has_its_status_and_a_code_of_its_own() -> None:
    assert {refusal.code: refusal.status for refusal in Refusal} == {
        "token_required": 401,
        "token_invalid": 401,
        "token_expired": 401,
        "token_spent": 401,
        "token_too_small": 402,
        "budget_exceeded": 400,
        "token_in_use": 409,
        "token_store_unavailable": 503,
    }
    assert {refusal.code for refusal in Refusal} == CODES


def test_texts_are_sentences_of_one_size_or_so() -> None:
    texts = [refusal.text for refusal in Refusal]
    assert all(text.endswith(".") and len(text) < 64 for text in texts)


def test_an_error_names_its_case_alone() -> None:
    refused = Refused(Refusal.SPENT, ((b"a", b"b"),))
    assert (str(refused), refused.refusal, refused.fields) == (
        "token_spent",
        Refusal.SPENT,
        ((b"a", b"b"),),
    )
