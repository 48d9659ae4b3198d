"""Our client's side: requests in every form of Binary HTTP, sealed whole or in chunks."""

from collections.abc import Iterator

import httpx

from oblivious_client import sealing
from oblivious_client.exchange import content_in, head_in
from oblivious_client.sealing import CHUNK, ChunkedAnswer, Sealed, WholeAnswer
from protocol import chunked, encapsulation, varint
from protocol.binary_http import Event, Request, Response, encode_request
from protocol.hpke import Aead, Kdf
from protocol.kem import X25519_HKDF_SHA256, Kem
from protocol.key_config import KeyConfig, decode_key_configs, encode_key_configs
from tests.interop.cells import Form, Framing

TIMEOUT = 300.0
INDETERMINATE_REQUEST = 2
OURS = {Framing.WHOLE: sealing.Framing.WHOLE, Framing.CHUNKED: sealing.Framing.CHUNKED}


def fetched(url: str) -> bytes:
    """Return what is served at `url`."""
    with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
        answer = client.get(url)
    assert answer.status_code == httpx.codes.OK
    return answer.content


def restricted(keys: bytes, suite: Aead, kem: Kem = X25519_HKDF_SHA256) -> bytes:
    """Return a list of key configurations whose first of `kem` is left, with one suite."""
    found = next(config for config in decode_key_configs(keys) if config.kem_id == kem.code)
    return encode_key_configs([with_suite(found, suite)])


def with_suite(config: KeyConfig, suite: Aead) -> KeyConfig:
    """Return a key configuration with one suite."""
    algorithms = ((Kdf.HKDF_SHA256, suite),)
    return KeyConfig(config.key_id, config.kem_id, config.public_key, algorithms)


def written(request: Request, form: Form) -> bytes:
    """Return `request` in a form that our client does not write itself."""
    if form is Form.INDETERMINATE:
        return _indeterminate(request)
    message = encode_request(request)
    if form is Form.TRUNCATED:
        # RFC 9292, Section 3.8: sections at the end that are empty may be left out.
        return message[:-1] if request.content else message[:-2]
    return message


def _indeterminate(request: Request) -> bytes:
    control = (request.method, request.scheme, request.authority, request.path)
    lines = b"".join(_prefixed(name) + _prefixed(value) for name, value in request.headers)
    pieces = (request.content[at : at + CHUNK] for at in range(0, len(request.content), CHUNK))
    content = b"".join(_prefixed(piece) for piece in pieces)
    head = varint.encode(INDETERMINATE_REQUEST) + b"".join(map(_prefixed, control))
    return head + lines + b"\0" + content + b"\0" + b"\0"


def _prefixed(text: bytes) -> bytes:
    return varint.encode(len(text)) + text


def seal(config: KeyConfig, request: Request, form: Form, framing: Framing) -> Sealed:
    """Seal `request`: padded as our client does always, or in another form."""
    if form is Form.PADDED:
        return sealing.seal(config, request, OURS[framing])
    plain = written(request, form)
    if framing is Framing.WHOLE:
        data, context = encapsulation.encapsulate_request(config, plain)
        return Sealed(iter((data,)), WholeAnswer(context))
    sealer, chunked_context = chunked.encapsulate_request(config)
    return Sealed(_chunks(sealer, plain), ChunkedAnswer(chunked_context))


def _chunks(sealer: chunked.RequestSealer, plain: bytes) -> Iterator[bytes]:
    for start in range(0, len(plain), CHUNK):
        yield sealer.seal(plain[start : start + CHUNK])
    yield sealer.finish()


def ask(
    url: str, config: KeyConfig, request: Request, form: Form, framing: Framing
) -> Response | int:
    """Return the opened answer of the gateway at `url`, or its outer status."""
    sealed = seal(config, request, form, framing)
    ours = OURS[framing]
    headers = {"content-type": ours.request_type}
    if framing is Framing.WHOLE:
        content: bytes | Iterator[bytes] = b"".join(sealed.pieces)
    else:
        content, headers["incremental"] = sealed.pieces, "?1"
    with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
        stream = client.stream("POST", url, headers=headers, content=content)
        with stream as answer:
            if answer.headers.get("content-type") != ours.response_type:
                return answer.status_code
            events: list[Event] = []
            for data in answer.iter_raw():
                events += sealed.reader.feed(data)
    events += sealed.reader.finish()
    head = head_in(events)
    assert head is not None
    return Response(head.status, head.headers, content_in(events))
