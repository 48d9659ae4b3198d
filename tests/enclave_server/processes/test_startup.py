"""From a configuration to a server: what is done before it serves, and what is undone after."""

import contextlib
import io
import json
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from enclave_server.config import parse_config
from enclave_server.engine.child import Problem
from enclave_server.log import Log
from enclave_server.processes import startup
from enclave_server.processes.catalogue import engine_share
from enclave_server.processes.startup import ExitCode, StartError, check, serve
from enclave_server.processes.supervisor import EngineFails, WorkersFail
from enclave_server.security_module.clock import ClockError
from enclave_server.security_module.entropy import EntropyError, Mixing
from enclave_server.security_module.nsm import NsmError
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.evidence import Platform
from protocol.signature import SigningKeys
from tests.support.enclave import exchange, private_directory, running_enclave

ALONE = "models = []\n"
EMBEDDED = ""


class StandInEngine:
    """Notes whether it was started and stopped."""

    problem: Problem | None = None

    def __init__(
        self, weights: object, *, threads: int | None, connections: int, memory_mib: int | None
    ) -> None:
        self.weights, self.threads = weights, threads
        self.connections, self.memory_mib = connections, memory_mib
        self.calls: list[str] = []
        self.folder = Path("/")
        self.mode = 0
        made.append(self)

    def start(self, path: str) -> None:
        self.calls.append("start")
        self.folder = Path(path).parent
        self.mode = stat.S_IMODE(self.folder.stat().st_mode)

    def stop(self) -> None:
        assert self.folder.is_dir()  # its socket is removed before the directory is
        self.calls.append("stop")


made: list[StandInEngine] = []


class StandInSupervisor:
    """Ends as it is told to, in place of serving."""

    ends: Callable[[], None] = staticmethod(lambda: None)
    seen: dict[str, Any]

    def __init__(self, *parts: object, **options: object) -> None:
        type(self).seen = {"parts": parts, **options}

    def serve(self, pool: object, on_ready: Callable[[], None], on_end: Callable[[], None]) -> None:
        on_ready()
        try:
            self.ends()
        finally:
            on_end()


@pytest.fixture(autouse=True)
def protections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note, instead of doing it to this process, what a process does for its safety."""
    done: list[str] = []
    for name in ("protect_memory", "give_back_memory"):
        monkeypatch.setattr(startup, name, lambda name=name: done.append(name))
    monkeypatch.setattr("gc.freeze", lambda: done.append("freeze"))
    monkeypatch.setattr(startup, "Engine", StandInEngine)
    monkeypatch.setattr(startup, "Supervisor", StandInSupervisor)
    monkeypatch.setattr(StandInSupervisor, "ends", staticmethod(lambda: None))
    made.clear()
    return done


def served(config: str, listen: str | None = None) -> list[dict[str, Any]]:
    """Serve with these settings until the stand-in ends; return the log's lines."""
    stream = io.StringIO()
    with private_directory() as directory:
        address = listen or f"unix:{directory / 's'}"
        settings = parse_config(f'{config}\n[server]\nlisten = "{address}"\ngrace_seconds = 7\n')
        try:
            serve(settings, SimulatedSecurityModule(), Log(stream))
        finally:
            assert not (directory / "s").exists()
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def failing(error: Exception) -> Callable[..., None]:
    def fail(**_: object) -> None:
        raise error

    return fail


def test_memory_is_protected_before_there_is_a_secret(
    protections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SigningKeys, "generate", failing(RuntimeError("keys are made")))
    with pytest.raises(RuntimeError, match="keys are made"):
        served(ALONE)
    assert protections == ["protect_memory", "give_back_memory"]


def test_no_key_is_made_before_there_is_randomness(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def mixed(_: object) -> Mixing:
        done.append("mixed")
        return Mixing.CREDITED

    monkeypatch.setattr(startup, "mix_entropy", mixed)
    monkeypatch.setattr(startup, "wait_for_pool", lambda: done.append("waited"))
    monkeypatch.setattr(SigningKeys, "generate", failing(RuntimeError("keys are made")))
    with pytest.raises(RuntimeError, match="keys are made"):
        served(ALONE)
    assert done == ["mixed", "waited"]


def test_the_log_tells_of_each_step(protections: list[str]) -> None:
    events = served(ALONE)
    assert [event["event"] for event in events] == ["simulated_evidence", "randomness", "ready"]
    assert events[0]["proves"] == "nothing"
    ready = events[-1]
    assert ready["address"].startswith("unix:")
    assert (ready["workers"], ready["platform"]) == (1, "simulated")
    assert 0 <= ready["milliseconds"] < 600_000
    assert StandInSupervisor.seen["grace_seconds"] == 7
    assert StandInSupervisor.seen["wants_secrets"] is False
    assert protections[-1] == "freeze"


def test_answers_without_padding_are_told_of() -> None:
    events = served(ALONE + '[stream]\npadding = "off"\n')
    (told,) = [event for event in events if event["event"] == "padding_off"]
    assert told["shown"] == "sizes-and-times-of-answers"


def test_a_real_module_is_not_called_simulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimulatedSecurityModule, "platform", Platform.AWS_NITRO)
    monkeypatch.setattr(startup, "mix_entropy", lambda module: Mixing.CREDITED)
    assert [event["event"] for event in served(ALONE)] == ["randomness", "ready"]


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (NsmError("EACCES", "this user may not open it"), ExitCode.MODULE, "--simulated-nsm"),
        (EntropyError("none"), ExitCode.MODULE, "no keys are made: none"),
        (ClockError("the clock is wrong"), ExitCode.CLOCK, "the clock is wrong"),
        (EngineFails("no engine"), ExitCode.MODEL, "no engine"),
        (WorkersFail(), ExitCode.FAILED, "the log above says where"),
    ],
)
def test_what_ends_a_server_is_a_sentence(
    error: Exception, code: ExitCode, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StandInSupervisor, "ends", staticmethod(failing(error)))
    with pytest.raises(StartError, match=words) as caught:
        served(EMBEDDED)
    assert caught.value.code is code
    assert made[0].calls == ["start", "stop"]


def test_an_engine_is_stopped_when_the_server_ends() -> None:
    served(EMBEDDED)
    (engine,) = made
    assert engine.calls == ["start", "stop"]
    assert engine.mode == 0o700
    assert not engine.folder.exists()
    assert engine.weights is None


def test_an_engine_is_told_which_weights_and_how_many_threads() -> None:
    file = 'model_file = "/a.gguf"\nsha256 = "00"'
    served(f"[engine]\n{file}\nthreads = 3\nmemory_mib = 700\n")
    weights: Any = made[0].weights
    assert (weights.path, weights.sha256) == ("/a.gguf", "00")
    assert made[0].threads == 3
    assert made[0].memory_mib == 700
    assert made[0].connections == engine_share(1)


def test_an_engine_that_cannot_run_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandInEngine, "problem", Problem.NO_AVX2)
    with pytest.raises(StartError, match="AVX2") as caught:
        served(EMBEDDED)
    assert caught.value.code is ExitCode.MODEL
    assert made[0].calls == ["start", "stop"]


def test_no_engine_is_started_for_nothing() -> None:
    served(ALONE)
    assert made == []


def test_an_address_that_is_taken_is_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(StartError, match="choose another with --listen") as caught:
            served(ALONE, address)
    assert caught.value.code is ExitCode.ADDRESS


def test_the_port_is_free_again_afterwards() -> None:
    address = served(ALONE, "tcp://127.0.0.1:0")[-1]["address"]
    port = int(address.rpartition(":")[2])
    assert port != 0
    socket.create_server(("127.0.0.1", port)).close()


def test_a_socket_that_somebody_removed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    monkeypatch.setattr(StandInSupervisor, "ends", staticmethod(path.unlink))
    assert served(ALONE, f"unix:{path}")[-1]["address"] == f"unix:{path}"


PROVISIONED = """
[[models]]
name = "a"
upstream = "a"
[upstreams.a]
address = "tcp://127.0.0.1:9"
{key}
[provision]
administrator_key = "sddpLIvytHBnhdrc6IMmo56hbfXSzPJ0lUSkT5ko/1I="
"""


@pytest.mark.parametrize(
    ("key", "absent"),
    [
        ("key_provisioned = true", False),
        ("key_env = 'NO_SUCH_KEY'", True),
        ("key_env = 'A_KEY'", False),
        ("", False),
    ],
)
def test_a_key_that_should_be_there_is_missed(
    key: str, absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "sk-a")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    events = served(PROVISIONED.format(key=key))
    missed = [event["upstream"] for event in events if event["event"] == "key_absent"]
    assert missed == (["a"] if absent else [])
    assert StandInSupervisor.seen["wants_secrets"] is ("provisioned" in key)


def test_settings_that_cannot_work_anywhere_are_found_without_a_start(tmp_path: Path) -> None:
    check(parse_config(ALONE))
    weights = tmp_path / "w.gguf"
    engine = f'[engine]\nmodel_file = "{weights}"\nsha256 = "00"\n'
    with pytest.raises(StartError, match="weights are missing") as caught:
        check(parse_config(engine))
    assert caught.value.code is ExitCode.MODEL
    check(parse_config(ALONE + engine))  # nobody will ask for them
    weights.touch()
    check(parse_config(engine))
    check(parse_config(EMBEDDED))
    with pytest.raises(StartError, match="correct the configuration") as caught:
        check(parse_config("models = []\n[upstreams.b]\naddress = 'vsock://3:8001'\n"))
    assert caught.value.code is ExitCode.USAGE


def test_exit_statuses_stay_what_they_are() -> None:
    assert {each.name: each.value for each in ExitCode} == {
        "ENDED": 0,
        "FAILED": 1,
        "USAGE": 2,
        "ADDRESS": 3,
        "MODULE": 4,
        "CLOCK": 5,
        "MODEL": 6,
    }


def test_without_descriptors_the_limits_are_smaller_and_the_log_says_so() -> None:
    with running_enclave(descriptors=100, workers=1) as enclave, contextlib.ExitStack() as stack:
        (told,) = enclave.events("few_descriptors")
        assert (told["have"], told["wanted"]) == (100, 2164)
        statuses = []
        for _ in range(told["connections"] + 1):
            connection = stack.enter_context(contextlib.closing(enclave.connect()))
            statuses.append(exchange(connection, "GET", "/health").status)
        assert statuses == told["connections"] * [200] + [503]
        assert enclave.events("accept_failed") == []


def test_with_descriptors_enough_nothing_is_said_of_them() -> None:
    with running_enclave() as enclave:
        assert enclave.events("few_descriptors") == []
