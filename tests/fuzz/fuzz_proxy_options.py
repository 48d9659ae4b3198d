"""The host proxy's options and probe: any file is options or an error; any answer is a verdict.

An even first octet: the rest is a file. An odd one: it is an answer, or a variable of systemd's.
"""

from host_proxy import options, probe, systemd
from host_proxy.addresses import AddressError, Tcp
from host_proxy.options import Options
from host_proxy.probe import Outcome
from host_proxy.resolver import Resolver
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, MemoryFile, Refused

FILE = MemoryFile()
MAX_BYTES = 8192
attempt = Attempt(AddressError)

FAULTS = (
    slips("host_proxy.options._value", AddressError),
    returns("host_proxy.options._hole", lambda hole: None),
    returns("host_proxy.probe.judge", lambda outcome: None),
    slips("host_proxy.addresses._number", AddressError),
)


def seeds() -> list[bytes]:
    """Return files and answers."""
    files = [
        'listen = "tcp://127.0.0.1:1"\nconnect = "vsock://16:5000"\nconnections = 9\n',
        '[egress]\n"vsock://3:8001" = "api.example.com:443"\n"unix:/a" = "unix:/b"\n',
        'probe = 2\nconnect = "unix:/x"\nprobe_misses = 1.5\n',
        'listen = "tcp://a:' + "9" * 5000 + '"',
        "idle_seconds = nan\n",
        "idle_seconds = " + "9" * 4400,
        "idle_seconds = " + "9" * 400,
        "x = " + "[" * 600,
        '[egress]\n"vsock://3:1" = "a\\u0000b:443"\n"vsock://3:2" = "a..b:443"\n',
        "idle_seconds = true\n",
        "\xff",
    ]
    answers = [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 503\r", b"", b"SSH-2.0", b"HTTP/1.1 2000 x"]
    numbers = [b"30000000", "²".encode(), b"0", b"9" * 5000]
    return [
        *(b"\0" + text.encode("latin-1") for text in files),
        *(b"\1" + text for text in (*answers, *numbers)),
    ]


def run(data: bytes) -> None:
    """Read options and use the names in them, or judge an answer."""
    kind, rest = data[:1] or b"\0", data[1:]
    if kind[0] & 1:
        _check_answer(rest)
        return
    found = attempt(lambda: Options(**options.from_file(FILE.holding(rest))))
    if isinstance(found, Refused):
        return
    assert found.routes or found.questions or found.front
    for hole in found.egress:
        _look_up(hole.target)


def _check_answer(answer: bytes) -> None:
    outcome = probe.judge(answer)
    assert (outcome is Outcome.HEALTHY) == (
        answer[:12] in (b"HTTP/1.0 200", b"HTTP/1.1 200") and answer[12:13] in (b" ", b"\r")
    )
    text = answer.decode(errors="replace").replace("\0", "")
    for name in ("WATCHDOG_USEC", "LISTEN_FDS"):
        environment = {name: text, "LISTEN_PID": "1"}
        seconds = systemd.watchdog_seconds(environment)
        assert seconds is None or seconds > 0
        assert systemd.passed_sockets(environment) == {}


def _look_up(target: object) -> None:
    """Whatever name is allowed, looking it up ends with candidates or with none."""
    if isinstance(target, Tcp):
        asked: list[object] = []

        def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
            asked.append(host.encode("idna"))
            if "\0" in host:
                raise ValueError("embedded null character")  # as the real one does
            return []

        resolver = Resolver(None, getaddrinfo)  # type: ignore[arg-type]
        assert resolver._candidates(target.host, target.port) == []
