"""Signs answers with the enclave's key of the moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocol.signature import output_of_choices, sign_answer


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with the key that `signing_key` returns, at the Unix time that `clock` returns."""

    signing_key: Callable[[], RSAPrivateKey] = field(repr=False)
    clock: Callable[[], float]

    def sign(
        self, request_body: bytes, outputs: Sequence[Mapping[str, object]]
    ) -> dict[str, str | int]:
        """Return the signature members for the choices of an answer, in order of their index."""
        output = output_of_choices(outputs)
        return sign_answer(self.signing_key(), request_body, output, timestamp=int(self.clock()))
