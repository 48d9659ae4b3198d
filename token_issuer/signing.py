"""RSASP1 of an issuing key (RFC 8017, Section 5.2.1), whose time tells nothing of the key.

Whoever buys chooses what is signed, and measures how long it took. So each number is multiplied
by a random one before it is raised to the secret power and divided by it afterwards (Kocher 1996,
Section 10), and the power itself is GMP's, which takes one time for every exponent and base. It is
taken modulo p and modulo q, which is four times as fast; `blind_rsa.blind_sign` checks each result
before it leaves, as a fault in one half would give away a factor.
"""

import math
import secrets
import threading
from collections.abc import Callable
from typing import cast

import gmpy2
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

USES_OF_A_BLINDING = 64
"""Its square follows each use, as in OpenSSL; then another is drawn, which costs an inversion."""


class PrivateOperation:
    """m to m^d mod n; may be called by several threads at once."""

    def __init__(
        self, key: RSAPrivateKey, random: Callable[[int], int] = secrets.randbelow
    ) -> None:
        """`random` draws a number below the one given."""
        numbers = key.private_numbers()
        self._n = gmpy2.mpz(numbers.public_numbers.n)
        self._e = gmpy2.mpz(numbers.public_numbers.e)
        self._p, self._q = gmpy2.mpz(numbers.p), gmpy2.mpz(numbers.q)
        self._d_p, self._d_q = gmpy2.mpz(numbers.dmp1), gmpy2.mpz(numbers.dmq1)
        self._q_inverse = gmpy2.mpz(numbers.iqmp)
        self._random = random
        self._lock = threading.Lock()
        self._left = 0
        self._blinding = self._unblinding = gmpy2.mpz(1)

    def __repr__(self) -> str:
        return "PrivateOperation(...)"

    def __call__(self, representative: int) -> int:
        blinding, unblinding = self._take_blinding()
        blinded = representative * blinding % self._n
        # An integer of GMP's, which is one in all that is done with it: so the caller's check of
        # the result is GMP's work too, and takes a sixth of the time.
        return cast("int", self._power(blinded) * unblinding % self._n)

    def _power(self, number: "gmpy2.mpz") -> "gmpy2.mpz":
        """Return number^d mod n by the Chinese remainder theorem."""
        of_p = gmpy2.powmod_sec(number % self._p, self._d_p, self._p)
        of_q = gmpy2.powmod_sec(number % self._q, self._d_q, self._q)
        return of_q + self._q * ((of_p - of_q) * self._q_inverse % self._p)

    def _take_blinding(self) -> tuple["gmpy2.mpz", "gmpy2.mpz"]:
        """Return r^e and 1/r, which belong together and are used once.

        Under a lock: of two threads that took halves of two pairs, both would sign nonsense.
        """
        with self._lock:
            if self._left == 0:
                self._draw_blinding()
            self._left -= 1
            pair = self._blinding, self._unblinding
            self._blinding = self._blinding * self._blinding % self._n
            self._unblinding = self._unblinding * self._unblinding % self._n
            return pair

    def _draw_blinding(self) -> None:
        modulus = int(self._n)
        factor = self._random(modulus)
        while math.gcd(factor, modulus) != 1:
            factor = self._random(modulus)
        self._blinding = gmpy2.powmod(factor, self._e, self._n)
        self._unblinding = gmpy2.invert(factor, self._n)
        self._left = USES_OF_A_BLINDING
