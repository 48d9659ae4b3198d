"""host_proxy's addresses, command line and configuration file."""

import re
from pathlib import Path

import pytest

from host_proxy.addresses import (
    AddressError,
    Tcp,
    Unix,
    Vsock,
)
from host_proxy.options import Hole, Options, Questions, from_command_line

INGRESS = ["--listen", "tcp://127.0.0.1:0", "--connect", "vsock://16:5000"]
FRONT = ["--front", "unix:/run/haproxy.sock"]
PROBE = ["--probe", "2", "--connect", "vsock://16:5000"]


def test_the_command_line() -> None:
    options = from_command_line(
        [
            *INGRESS,
            *("--egress", "vsock://3:8001=api.example.com:443"),
            *("--egress", "unix:/run/a=b=unix:/run/c"),
            *("--metrics", "tcp://127.0.0.1:9100"),
            *("--idle-seconds", "60", "--connections", "10"),
        ]
    )
    assert options == Options(
        listen=Tcp("127.0.0.1", 0),
        connect=Vsock(16, 5000),
        egress=(
            Hole(Vsock(3, 8001), Tcp("api.example.com", 443)),
            Hole(Unix("/run/a=b"), Unix("/run/c")),
        ),
        metrics=Tcp("127.0.0.1", 9100),
        idle_seconds=60,
        connections=10,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--listen", "tcp://127.0.0.1:0"],
        ["--connect", "vsock://16:5000"],
        ["--listen", "tcp://127.0.0.1:0", "--connect", "vsock://any:5000"],
        ["--listen", "tcp://127.0.0.1:0", "--connect", "systemd:x"],
        ["--egress", "vsock://3:8001"],
        ["--egress", "vsock://3:8001=example.com"],
        ["--egress", "vsock://3:8001=systemd:x"],
        [*INGRESS, "--idle-seconds", "0"],
        [*INGRESS, "--idle-seconds", "nan"],
        [*INGRESS, "--connections", "0"],
        [*INGRESS, "--grace-seconds", "-1"],
        [*INGRESS, "--config", "/absent.toml"],
        [*INGRESS, "--quiet-seconds", "0"],
        [*INGRESS, "--connections", "1", "--egress", "vsock://3:8001=example.com:443"],
        [*INGRESS, "--probe", "2"],
        [*PROBE, "--egress", "vsock://3:8001=example.com:443"],
        ["--probe", "2"],
        ["--probe", "0", "--connect", "vsock://16:5000"],
        ["--probe", "nan", "--connect", "vsock://16:5000"],
        ["--probe", "2", "--connect", "vsock://any:5000"],
        [*PROBE, "--probe-misses", "0"],
        [*PROBE, "--probe-start-seconds", "0"],
        [*FRONT, "--connect", "vsock://16:5000"],
        [*FRONT, "--probe", "2"],
        [*FRONT, "--listen", "tcp://127.0.0.1:0"],
        [*FRONT, "--egress", "vsock://3:8001=example.com:443"],
        [*FRONT, "--front-seconds", "0"],
        ["--front", "systemd:x"],
        ["--front", "vsock://any:1"],
    ],
)
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with pytest.raises(AddressError):
        from_command_line(arguments)


def test_an_egress_without_its_target_is_told_of_as_that() -> None:
    with pytest.raises(AddressError, match=r"'vsock://3:8001' is not LISTEN=HOST:PORT"):
        from_command_line(["--egress", "vsock://3:8001"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--what"],
        [*INGRESS, "--idle", "60"],  # which could be another option in the next version
        [*INGRESS, "--connections", "x"],
        [*PROBE, "--probe-misses", "1.5"],
    ],
)
def test_unknown_options_exit_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as info:
        from_command_line(arguments)
    assert info.value.code == 2


FILE = """
listen = "tcp://127.0.0.1:8443"
connect = "vsock://16:5000"
idle_seconds = 60
connections = 7
[egress]
"vsock://3:8001" = "api.example.com:443"
"vsock://3:8002" = "api.example.org:443"
"""


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text(FILE)
    options = from_command_line(
        ["--config", str(path), "--connections", "8", "--egress", "vsock://3:8003=example.net:443"]
    )
    assert options.listen == Tcp("127.0.0.1", 8443)
    assert (options.idle_seconds, options.connections) == (60, 8)
    assert [str(hole.target) for hole in options.egress] == [
        "tcp://api.example.com:443",
        "tcp://api.example.org:443",
        "tcp://example.net:443",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "listen = 5",
        "idle_seconds = true",
        "idle_seconds = inf",
        "idle_seconds = nan",
        "idle_seconds = 1e10",
        "idle_seconds = " + "9" * 400,
        "idle_seconds = " + "9" * 5000,
        "idle_seconds = 0x" + "f" * 5000,
        "idle_seconds = " + "[" * 900,
        '[egress]\n"vsock://3:1" = "a\\u0000b:443"',
        "connections = 1.5",
        'egress = ["vsock://3:8001=api.example.com:443"]',
        "unknown = 1",
        "not toml",
        "[egress]\n'vsock://3:8001' = 443",
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "proxy.toml"
    path.write_text(text)
    with pytest.raises(AddressError):
        from_command_line([*INGRESS, "--config", str(path)])


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "proxy.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AddressError, match="TOML"):
        from_command_line(["--config", str(path)])


def test_what_a_probe_asks() -> None:
    assert from_command_line(INGRESS).questions is None
    assert from_command_line(PROBE).questions == Questions(Vsock(16, 5000), 2, 5, 3, 180)
    more = ["--connect-seconds", "1", "--probe-misses", "7", "--probe-start-seconds", "60"]
    assert from_command_line([*PROBE, *more]).questions == Questions(Vsock(16, 5000), 2, 1, 7, 60)


def test_a_file_may_ask_for_a_probe(tmp_path: Path) -> None:
    path = tmp_path / "probe.toml"
    path.write_text('connect = "vsock://16:5000"\nprobe = 2.5\nprobe_misses = 4\n')
    asked = from_command_line(["--config", str(path)]).questions
    assert asked == Questions(Vsock(16, 5000), 2.5, 5, 4, 180)


OPERATIONS = Path(__file__).resolve().parents[2] / "docs/operations.md"


def test_times_are_by_default_what_operators_are_told() -> None:
    told = re.findall(r"`--([a-z-]+-seconds)`\s\((\d+)\)", OPERATIONS.read_text(encoding="utf-8"))
    options = Options(listen=Tcp("127.0.0.1", 1), connect=Tcp("127.0.0.1", 2))
    assert {"grace-seconds", "quiet-seconds", "probe-start-seconds"} <= dict(told).keys()
    for name, seconds in told:
        assert getattr(options, name.replace("-", "_")) == float(seconds), name


def test_some_times_may_be_nothing() -> None:
    options = from_command_line([*INGRESS, "--retry-seconds", "0", "--grace-seconds", "0"])
    assert (options.retry_seconds, options.grace_seconds) == (0, 0)


def test_a_route_for_each_connection_is_enough() -> None:
    egress = ["--egress", "vsock://3:8001=example.com:443"]
    options = from_command_line([*INGRESS, *egress, "--connections", "2"])
    assert (options.routes, options.connections) == (2, 2)


def test_a_front_needs_nothing_but_the_socket_of_its_haproxy() -> None:
    options = from_command_line([*FRONT, "--front-seconds", "2", "--metrics", "unix:/m"])
    assert (options.front, options.front_seconds) == (Unix("/run/haproxy.sock"), 2)
    assert (options.metrics, options.routes, options.questions) == (Unix("/m"), 0, None)


def test_numbers_may_be_as_large_as_a_clock_can_take() -> None:
    assert from_command_line([*INGRESS, "--idle-seconds", "1e9"]).idle_seconds == 10**9
    with pytest.raises(AddressError, match="up to 1000000000"):
        from_command_line([*INGRESS, "--idle-seconds", "1000000001"])


def test_what_is_not_said_is_as_it_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        from_command_line(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    told = dict(re.findall(r"--([a-z-]+) N [^()]+ \(default ([\d.]+)\)", shown))
    assert told == {
        "idle-seconds": "900",
        "connect-seconds": "5",
        "retry-seconds": "5",
        "grace-seconds": "30",
        "quiet-seconds": "2",
        "connections": "4096",
        "probe-misses": "3",
        "probe-start-seconds": "180",
        "front-seconds": "0.5",
    }
    options = from_command_line(INGRESS)
    for name, number in told.items():
        assert getattr(options, name.replace("-", "_")) == float(number), name
