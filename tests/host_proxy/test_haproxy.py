"""What HAProxy's runtime socket says, as 2.6.12 said it, and what it is told."""

import pytest

from host_proxy import haproxy
from host_proxy.haproxy import Admission, Change, RuntimeFault

COLUMNS = (
    "# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight"
    " srv_iweight srv_time_since_last_change srv_check_status srv_check_result srv_check_health"
    " srv_check_state srv_agent_state bk_f_forced_id srv_f_forced_id srv_fqdn srv_port srvrecord"
    " srv_use_ssl srv_check_port srv_check_addr srv_agent_addr srv_agent_port\n"
)
LINE = (
    "4 oblivious_members {n} {name} 127.0.0.1 2 {state} {weight} 1 0 8 2 0 6 0 0 0 - {port}"
    " - 0 0 - - 0\n"
)
MAP = (
    "# id (file) description\n"
    "0 (/etc/haproxy/other.map) pattern loaded from file '/etc/haproxy/other.map'\n"
    "3 (/etc/haproxy/oblivious-keys.map) pattern loaded from file used by map at line 15\n\n"
)
TABLE = (
    "# table: oblivious_counts, type: integer, size:16, used:2\n"
    "0x7f6010048528: key=1 use=0 exp=86399935 gpc0=3\n"
    "0x7f6010048529: key=2 use=0 exp=86399935 gpc0=5\n\n"
)


def said(*states: tuple[int, int]) -> bytes:
    lines = [
        LINE.format(n=n, name=f"enclave{n}", state=state, weight=weight, port=8000 + n)
        for n, (state, weight) in enumerate(states, 1)
    ]
    return ("1\n" + COLUMNS + "".join(lines) + "\n" + MAP + TABLE).encode()


def test_a_round_begins_with_servers_map_and_counts() -> None:
    overview = haproxy.overview(said((0, 1), (8, 1), (5, 0)))
    assert [s.admission for s in overview.servers] == [
        Admission.READY,
        Admission.DRAIN,
        Admission.OUT,
    ]
    first = overview.servers[0]
    assert (first.name, first.host, first.port, first.weight) == ("enclave1", "127.0.0.1", 8001, 1)
    assert overview.servers[2].weight == 0
    assert (overview.map_reference, overview.unknown, overview.misdirected) == ("#3", 3, 5)


@pytest.mark.parametrize(
    ("state", "admission"),
    [
        (0, Admission.READY),
        (0x08, Admission.DRAIN),
        (0x10, Admission.DRAIN),
        (0x18, Admission.DRAIN),
        (0x40, Admission.READY),  # nobody knows of such a state yet
    ],
)
def test_who_is_drained_is_not_taken_out(state: int, admission: Admission) -> None:
    assert haproxy.overview(said((state, 1))).servers[0].admission is admission


@pytest.mark.parametrize("state", [1, 2, 4, 0x20, 0x21, 9])
def test_every_kind_of_maintenance_takes_out(state: int) -> None:
    assert haproxy.overview(said((state, 1))).servers[0].admission is Admission.OUT


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"Permission denied\n",
        said(),
        said((0, 1)).replace(b"oblivious-keys.map", b"some.map"),
        said((0, 1)).replace(b"oblivious_members", b"others"),
        said((0, 1)).replace(b"srv_port", b"port"),
        said((0, 1)).replace(b" 8001 ", b" - "),
    ],
)
def test_anything_else_is_a_fault(text: bytes) -> None:
    with pytest.raises(RuntimeFault):
        haproxy.overview(text)


def test_entries_of_a_map() -> None:
    assert haproxy.entries(b"0x55a0 DB enclave1\n0x55b0 DB7F enclave2\n\n") == {
        "DB": "enclave1",
        "DB7F": "enclave2",
    }
    assert haproxy.entries(b"\n") == {}


def test_changes_make_the_map_what_it_should_be() -> None:
    present = {"01": "a", "02": "a", "03": "a"}
    assert haproxy.changes(present, {"02": "a", "03": "b", "04": "b"}) == [
        Change("add", "04", "b"),
        Change("add", "told", "all"),
        Change("set", "03", "b"),
        Change("del", "01"),
    ]
    assert haproxy.changes({"told": "all"}, {}) == []
    assert Change("del", "01").command("#3") == "del map #3 01"
    assert Change("add", "04", "b").command("#3") == "add map #3 04 b"
    assert haproxy.weight("a", 0) == "set server oblivious_members/a weight 0"


def test_commands_go_in_lines_that_are_read_whole() -> None:
    commands = [f"add map #3 {n:04X} enclave1" for n in range(1024)]
    lines = list(haproxy.batches(commands))
    assert all(len(line) <= haproxy.COMMAND_BYTES + 1 for line in lines)
    assert ";".join(line.decode().removesuffix("\n") for line in lines).split(";") == commands
    assert list(haproxy.batches([])) == []


@pytest.mark.parametrize(
    ("sizes", "lines"),
    [
        ([4095, 4095], [2]),  # with what separates and ends them these are just as long as may be
        ([4095, 4096], [1, 1]),
        ([4095, 4096, 4094], [1, 2]),
        ([4095, 4096, 4095], [1, 1, 1]),
    ],
)
def test_a_line_is_as_long_as_it_may_be(sizes: list[int], lines: list[int]) -> None:
    batches = list(haproxy.batches("x" * size for size in sizes))
    assert [len(batch.split(b";")) for batch in batches] == lines
    assert max(map(len, batches)) <= haproxy.COMMAND_BYTES


def test_what_has_never_happened_has_no_row_and_counts_nothing() -> None:
    none = said((0, 1)).replace(TABLE.encode(), TABLE.encode().partition(b"0x")[0])
    overview = haproxy.overview(none)
    assert (overview.unknown, overview.misdirected) == (0, 0)


def test_columns_that_a_later_haproxy_adds_are_passed_over() -> None:
    longer = said((0, 1)).replace(b" - 0 0 - - 0\n", b" - 0 0 - - 0 new\n")
    assert haproxy.overview(longer).servers == haproxy.overview(said((0, 1))).servers
