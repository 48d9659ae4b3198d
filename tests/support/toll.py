"""What a stand-in gateway takes for an answer: tokens of a catalogue, each once, and faults."""

import json
from dataclasses import dataclass, field

from protocol.binary_http import Fields, Request, Response
from protocol.errors import ProtocolError
from protocol.private_token import Token
from protocol.token_asked import PAID_PATHS
from protocol.token_catalogue import Catalogue
from protocol.token_fields import PrivateTokenChallenge, decode_authorization

JSON = (b"content-type", b"application/json")
STATUS = b"privatetoken-status"


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in place of the one that was asked for."""

    status: int
    code: str | None = None
    fields: Fields = ()
    media_type: bytes = b"application/json"

    def response(self) -> Response:
        """Return the answer."""
        error = {"message": "scripted", "type": "scripted", "param": None, "code": self.code}
        body = json.dumps({"error": error}).encode()
        return Response(self.status, ((b"content-type", self.media_type), *self.fields), body)


RETURNED = Refusal(502, "upstream_failed", ((STATUS, b"returned"),))


@dataclass(slots=True)
class Toll:
    """Takes tokens as an enclave does, as far as its clients can tell."""

    catalogue: Catalogue
    script: list[Refusal] = field(default_factory=list)
    """Answers to the next requests, whatever they pay with."""
    spent: list[Token] = field(default_factory=list)
    seen: list[Token] = field(default_factory=list)
    breaks_streams: bool = False
    is_hidden: bool = False
    """Whether the evidence says nothing of it."""
    told: Fields = ((STATUS, b"spent"),)

    def refuse(self, request: Request) -> Response | None:
        """Return the refusal of a request, or None once its token is spent."""
        values = [value for name, value in request.headers if name == b"authorization"]
        try:
            token = decode_authorization(values) if values else None
        except ProtocolError:
            return self._refused("token_invalid")
        if token is not None:
            self.seen.append(token)
        if self.script:
            return self.script.pop(0).response()
        if request.path.decode() not in PAID_PATHS or self._is_free(request):
            return None
        if token is None:
            return self._refused("token_required")
        key = self.catalogue.find(token.token_key_id)
        try:
            if key is None:
                return self._refused("token_invalid")
            token.verify(key.key, self.catalogue.challenge.digest)
        except ProtocolError:
            return self._refused("token_invalid")
        if token in self.spent:
            return self._refused("token_spent")
        self.spent.append(token)
        return None

    def broken_stream(self) -> bytes:
        """Return the end of a stream whose upstream fails before it says anything."""
        error = {"message": "scripted", "type": "server_error", "token": "returned"}
        return b"data: " + json.dumps({"error": error}).encode() + b"\n\n"

    def _is_free(self, request: Request) -> bool:
        tariff = self.catalogue.models.get(json.loads(request.content).get("model"))
        return tariff is None or tariff.is_free

    def _refused(self, code: str) -> Response:
        challenge = PrivateTokenChallenge(self.catalogue.challenge.encode()).encode()
        fields = ((b"www-authenticate", challenge), (b"x-should-retry", b"false"))
        return Refusal(401, code, fields).response()
