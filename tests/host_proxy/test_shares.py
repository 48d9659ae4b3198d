"""Each route keeps a share of the connections that the others cannot take."""

import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from host_proxy.shares import Shares
from tests.support.host_proxy_process import (
    accept,
    connect_tcp,
    connect_unix,
    ingress,
    listen_unix,
    read_exactly,
    running,
    until,
)


@dataclass(eq=False)
class Held:
    """A route with so many connections."""

    active: int = 0


def fill(shares: Shares, holder: Held) -> int:
    while shares.may_open(holder):
        holder.active += 1
    return holder.active


@pytest.mark.parametrize(
    ("cap", "routes", "first", "others"),
    [
        (20, 1, 20, 0),
        (20, 2, 15, 5),  # the issue: twenty idle clients, and the enclave finds no way out
        (4096, 3, 4096 - 2 * 682, 682),
        (3, 3, 1, 1),
        (7, 3, 5, 1),
    ],
)
def test_who_comes_first_leaves_the_others_their_share(
    cap: int, routes: int, first: int, others: int
) -> None:
    holders = [Held() for _ in range(routes)]
    shares = Shares(cap, holders)
    assert fill(shares, holders[0]) == first
    assert [fill(shares, other) for other in holders[1:]] == [others] * (routes - 1)
    assert sum(holder.active for holder in holders) <= cap
    assert not any(shares.may_open(holder) for holder in holders)


def test_what_ends_makes_room_for_anybody() -> None:
    one, two = holders = Held(), Held()
    shares = Shares(8, holders)
    assert (fill(shares, one), fill(shares, two)) == (6, 2)
    one.active = 0
    assert fill(shares, two) == 6
    assert fill(shares, one) == 2


def test_idle_clients_leave_the_enclave_its_way_out(
    tmp_path: Path, upstream: socket.socket
) -> None:
    out = f"unix:{tmp_path / 'out'}=unix:{tmp_path / 'provider'}"
    options = ingress(tmp_path, "--egress", out, "--connections", "8")
    with listen_unix(tmp_path / "provider") as provider, running(*options) as proxy:
        clients = [connect_tcp(proxy.ports()[0]) for _ in range(20)]
        until(lambda: proxy.counters()["refused"] == 14)
        assert proxy.counters()["active"] == 6
        with connect_unix(tmp_path / "out") as enclave, accept(provider) as sock:
            enclave.sendall(b"a question")
            assert read_exactly(sock, 10) == b"a question"
        for client in clients:
            client.close()
