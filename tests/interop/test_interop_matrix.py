"""Every peer in both roles: every suite, framing, form, mechanism and size (RFC 9458, RFC 9292)."""

import pytest

from protocol.binary_http import Request, Response
from protocol.key_config import decode_key_configs
from tests.interop.cases import AUTHORITY, case
from tests.interop.cells import SIZES, Cell, Fails, Form, NotOffered, Role, cells, limit
from tests.interop.conftest import Drivers
from tests.interop.report import PASSED, Report
from tests.interop.sealing import ask, fetched, restricted, with_suite

PATH = "/v1/echo"


def content_of(size: int) -> bytes:
    """Return `size` octets of every value."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def case_for(cell: Cell, url: str, keys: bytes, content: bytes) -> dict[str, object]:
    """Return a case for a driver."""
    return case(cell, url, restricted(keys, cell.suite, cell.kem), PATH, content)


@pytest.mark.parametrize("cell", cells(Role.CLIENT), ids=str)
def test_peer_asks_our_gateway(
    cell: Cell, drivers: Drivers, relay: str, keys: bytes, report: Report
) -> None:
    client = drivers.client(cell.peer)
    match limit(cell):
        case NotOffered(reason):
            report.outcomes[cell] = reason
            pytest.skip(f"interop: {cell.peer} as client {reason}")
        case Fails(reason, complaint):
            report.outcomes[cell] = reason
            answer = client.ask(case_for(cell, relay, keys, b"x"))
            assert complaint in answer["error"], "mended: drop the limit and the difference"
        case None:
            report.outcomes[cell] = "failed"
            for size in SIZES:
                content = content_of(size)
                answer = client.ask(case_for(cell, relay, keys, content))
                assert answer.get("status") == 200, (size, str(answer)[:300])
                assert bytes.fromhex(answer["content"]) == content
                named = {name.lower(): value for name, value in answer["headers"]}
                assert named["inner-path"] == PATH
            report.outcomes[cell] = PASSED


@pytest.mark.parametrize("cell", cells(Role.GATEWAY), ids=str)
def test_our_client_asks_a_peer(cell: Cell, drivers: Drivers, report: Report) -> None:
    url = drivers.gateway(cell.peer, cell.kem)
    match limit(cell):
        case NotOffered(reason) | Fails(reason, _):
            report.outcomes[cell] = reason
            pytest.skip(f"interop: {cell.peer} as gateway {reason}")
    report.outcomes[cell] = "failed"
    config = with_suite(decode_key_configs(fetched(url))[0], cell.suite)
    assert config.kem_id == cell.kem.code
    for size in SIZES:
        content = content_of(size)
        request = asking(content, cell.form)
        answer = ask(url, config, request, cell.form, cell.framing)
        assert isinstance(answer, Response), (size, answer)
        assert answer.status == 200
        assert answer.content == content
        assert (b"inner-path", PATH.encode()) in answer.headers
    report.outcomes[cell] = PASSED


def asking(content: bytes, answer_form: Form) -> Request:
    """Return a request that asks for its own content, in a form if the peer can choose."""
    headers = (
        (b"content-type", b"application/octet-stream"),
        (b"answer-form", answer_form.value.encode()),
    )
    return Request(b"POST", b"https", AUTHORITY.encode(), PATH.encode(), headers, content)
