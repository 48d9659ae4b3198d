"""Signs answers with the enclave's keys of the moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from enclave_server.chat.errors import invalid
from protocol.answer_transcript import message_of
from protocol.binary_http import Request, field_value
from protocol.signature import (
    FIELD_NAME,
    Algorithm,
    RequestHash,
    SigningKeys,
    output_of_choices,
    sign_answer,
    sign_choices,
    sign_embeddings,
)

Choices = Sequence[Mapping[str, object]]


def asked_algorithm(request: Request) -> Algorithm | None:
    """Return what a request's field wants its answer signed with; raises ChatError 400."""
    value = field_value(request.headers, FIELD_NAME)
    if value is None:
        return None
    try:
        return Algorithm(value.decode("ascii"))
    except ValueError:
        known = " or ".join(Algorithm)
        raise invalid(f"The field Tee-Signature must be {known}.") from None


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with the keys that `signing_keys` returns, at the Unix time that `clock` returns.

    Who asks for an algorithm knows version 2; others get `version`, signed with RSA.
    """

    signing_keys: Callable[[], SigningKeys]
    clock: Callable[[], float]
    version: int = 2

    def covers_reasoning(self, algorithm: Algorithm | None) -> bool:
        """Whether what a client gets who asks for `algorithm` signs reasoning too."""
        return algorithm is not None or self.version != 1

    def sign(
        self,
        request_body: bytes | RequestHash,
        choices: Choices,
        model: str,
        algorithm: Algorithm | None,
    ) -> dict[str, str | int]:
        """Return the signature members for the choices of an answer, in order of their index."""
        keys, timestamp = self.signing_keys(), int(self.clock())
        if not self.covers_reasoning(algorithm):
            output = output_of_choices([message_of(choice) for choice in choices])
            return sign_answer(keys.rsa, request_body, output, timestamp=timestamp)
        key = keys.find(algorithm or Algorithm.RSA)
        return sign_choices(key, request_body, choices, model=model, timestamp=timestamp)

    def sign_vectors(
        self,
        request_body: bytes | RequestHash,
        vectors: Sequence[bytes],
        model: str,
        algorithm: Algorithm | None,
    ) -> dict[str, str | int]:
        """Return the signature members for embeddings, which are of version 2 for everybody."""
        key = self.signing_keys().find(algorithm or Algorithm.RSA)
        timestamp = int(self.clock())
        return sign_embeddings(key, request_body, vectors, model=model, timestamp=timestamp)
