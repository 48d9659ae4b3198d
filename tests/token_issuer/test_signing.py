"""The private operation: the right result from many threads, and no key in what is printed."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.private_token import TokenRequest, request_token
from protocol.token_key import TokenKey
from tests.support.issuing import CHALLENGE, key_for, made_keys
from tests.support.private_tokens import ISSUANCES, load_issuer
from token_issuer.signing import USES_OF_A_BLINDING, PrivateOperation

KEY = made_keys()[0][1]
NUMBERS = KEY.private_numbers()
N, E = NUMBERS.public_numbers.n, NUMBERS.public_numbers.e
OPERATION = PrivateOperation(KEY)


@given(st.integers(0, N - 1))
def test_it_is_the_inverse_of_the_public_operation(number: int) -> None:
    signed = OPERATION(number)
    assert signed.to_bytes(256, "big") == int(signed).to_bytes(256, "big")
    assert pow(signed, E, N) == number
    assert signed == pow(number, NUMBERS.d, N)


@pytest.mark.parametrize("number", [0, 1, 2, N - 1, NUMBERS.p, NUMBERS.q, 3 * NUMBERS.q])
def test_numbers_in_which_a_half_vanishes(number: int) -> None:
    assert pow(OPERATION(number), E, N) == number


@pytest.mark.parametrize("vector", ISSUANCES, ids=range(len(ISSUANCES)))
def test_published_issuances(vector: dict[str, str]) -> None:
    key = load_issuer(vector["skS"])
    request = TokenRequest.decode(bytes.fromhex(vector["token_request"]))
    answer = request.answer(TokenKey.from_public_key(key.public_key()), PrivateOperation(key))
    assert answer.hex() == vector["token_response"]


def test_both_halves_of_a_blinding_change_under_the_lock() -> None:
    operation = PrivateOperation(KEY)
    operation(2)  # which draws the first
    held: list[bool] = []

    class Watched:
        """The modulus, which sees whether the lock is held when it is used."""

        def __rmod__(self, number: int) -> int:
            held.append(operation._lock.locked())
            return number % N

    operation._n = Watched()
    operation._take_blinding()
    assert held == [True, True]
    assert not operation._lock.locked()


def test_eight_threads_get_what_one_gets() -> None:
    operation = PrivateOperation(KEY)
    numbers = [pow(7, at, N) for at in range(400)]
    with ThreadPoolExecutor(8) as pool:
        signed = list(pool.map(operation, numbers))
    assert [pow(each, E, N) for each in signed] == numbers


def test_each_use_has_a_blinding_of_its_own_and_none_lasts() -> None:
    drawn: list[int] = []

    def draw(below: int) -> int:
        assert below == N
        drawn.append(NUMBERS.p if not drawn else 12345 + len(drawn))
        return drawn[-1]

    operation = PrivateOperation(KEY, draw)
    for at in range(2 * USES_OF_A_BLINDING):
        assert pow(operation(at), E, N) == at
    # One has a factor in common with n, which cannot be divided by, and is drawn again.
    assert drawn == [NUMBERS.p, 12346, 12347]
    pairs = {operation._take_blinding() for _ in range(USES_OF_A_BLINDING)}
    assert len(pairs) == USES_OF_A_BLINDING
    assert all(pow(inverse, E, N) * blinding % N == 1 for blinding, inverse in pairs)


def test_a_result_that_is_wrong_does_not_leave() -> None:
    request, _ = request_token(key_for(1).key, CHALLENGE.digest)
    with pytest.raises(ArithmeticError):
        request.answer(key_for(1).key, lambda number: OPERATION(number) ^ 1)


def test_it_prints_no_key() -> None:
    shown = repr(OPERATION) + str(OPERATION)
    assert shown == 2 * "PrivateOperation(...)"
