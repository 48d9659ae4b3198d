"""The engine's process by itself: its settings, what it refuses, its pipe, socket and signals."""

import contextlib
import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave_server.engine import __main__ as engine
from enclave_server.engine.child import Problem, Weights, installed_weights
from tests.support.enclave import DEADLINE, private_directory


class Params(types.SimpleNamespace):
    """Parameters with every member that is set, none of them set yet."""

    def __init__(self) -> None:
        super().__init__(
            **dict.fromkeys(engine.SETTINGS),
            n_threads_http=None,
            model=types.SimpleNamespace(),
            sampling=types.SimpleNamespace(),
            cpuparams=types.SimpleNamespace(),
            cpuparams_batch=types.SimpleNamespace(),
        )


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """A stand-in for llama.cpp, whose server is the parameters that it is given."""
    stand_in = types.SimpleNamespace(CommonParams=Params, Server=lambda params: params)
    monkeypatch.setitem(sys.modules, "xllamacpp", stand_in)
    return stand_in


def test_the_server_is_given_model_socket_and_threads(library: types.SimpleNamespace) -> None:
    params = engine.serve("/model.gguf", "/run/engine.sock", 3, 5)
    assert params.model.path == "/model.gguf"
    assert params.hostnames == ["/run/engine.sock"]
    assert params.cpuparams.n_threads == params.cpuparams_batch.n_threads == 3
    assert params.n_threads_http == 5 + engine.SPARE_CONNECTIONS
    assert params.sampling.temp == 0
    assert {name: getattr(params, name) for name in engine.SETTINGS} == engine.SETTINGS


def test_nothing_of_a_prompt_is_kept_or_shown() -> None:
    off = {name for name, value in engine.SETTINGS.items() if value is False or value == 0}
    assert off == {
        "cache_prompt",
        "cache_ram_mib",
        "cache_idle_slots",
        "n_ctx_checkpoints",
        "endpoint_slots",
        "endpoint_props",
        "ui",
        "verbosity",
    }
    assert engine.SETTINGS["offline"] is True


def test_what_fits_and_how_many_are_answered_at_once() -> None:
    sizes = {name: engine.SETTINGS[name] for name in engine.SETTINGS if name.startswith("n_")}
    assert sizes == {
        "n_parallel": 2,
        "n_ctx": 4096,
        "n_batch": 128,
        "n_ubatch": 128,
        "n_ctx_checkpoints": 0,
    }


def test_a_setting_that_the_library_lacks_is_not_lost(library: types.SimpleNamespace) -> None:
    def without_one() -> Params:
        params = Params()
        del params.cache_prompt
        return params

    library.CommonParams = without_one
    with pytest.raises(AttributeError, match="cache_prompt"):
        engine.serve("/model.gguf", "/run/engine.sock", 1, 5)


def command(directory: Path, weights: Weights, ready: int, parent: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "enclave_server.engine",
        f"--socket={directory / 'engine.sock'}",
        f"--model={weights.path}",
        f"--sha256={weights.sha256}",
        "--threads=1",
        "--connections=2",
        "--memory-mib=4096",
        f"--parent={parent}",
        f"--ready={ready}",
    ]


@contextlib.contextmanager
def running(weights: Weights, parent: int | None = None) -> Iterator[tuple[Any, int, Path]]:
    """Yield the process, the end of the pipe at which it says that it is ready, and its folder."""
    reading, writing = os.pipe()
    with private_directory() as directory:
        words = command(directory, weights, writing, os.getpid() if parent is None else parent)
        with subprocess.Popen(words, pass_fds=[writing], stderr=subprocess.DEVNULL) as process:
            os.close(writing)
            try:
                yield process, reading, directory
            finally:
                process.kill()
                os.close(reading)


@pytest.fixture(scope="module")
def weights() -> Weights:
    found = installed_weights()
    assert found is not None
    return found


def test_it_says_when_it_is_ready_and_leaves_interrupts_to_its_parent(weights: Weights) -> None:
    with running(weights) as (process, reading, directory):
        assert os.read(reading, 2) == b"\1"
        assert os.read(reading, 1) == b""  # and no more, ever
        mode = (directory / "engine.sock").stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == -signal.SIGTERM


def test_a_process_whose_parent_is_gone_does_not_begin(weights: Weights) -> None:
    with running(weights, parent=1 << 22) as (process, reading, _):
        assert process.wait(DEADLINE) == 1
        assert os.read(reading, 1) == b""


@pytest.mark.parametrize(
    ("content", "problem"), [(b"GGUF", Problem.ALTERED_WEIGHTS), (None, Problem.NO_WEIGHTS)]
)
def test_what_is_wrong_is_its_exit_status(
    content: bytes | None, problem: Problem, tmp_path: Path
) -> None:
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)
    with running(Weights(str(path), "0" * 64)) as (process, reading, directory):
        assert process.wait(DEADLINE) == problem
        assert os.read(reading, 1) == b""
        assert not (directory / "engine.sock").exists()


def test_its_end_is_that_of_the_process_that_started_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.PR_SET_PDEATHSIG == 1
    calls: list[tuple[int, ...]] = []

    class Libc:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def prctl(self, *arguments: int) -> int:
            calls.append(arguments)
            return 0 if len(calls) < 3 else -1

    monkeypatch.setattr("ctypes.CDLL", Libc)
    assert engine._die_with(os.getppid())
    assert not engine._die_with(os.getpid())
    assert calls == [(1, signal.SIGKILL, 0, 0, 0)] * 2
    with pytest.raises(OSError, match="prctl"):
        engine._die_with(os.getppid())


def test_what_the_kernel_refuses_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "PR_SET_PDEATHSIG", -1)
    with pytest.raises(OSError, match="prctl") as caught:
        engine._die_with(os.getppid())
    assert caught.value.errno == errno.EINVAL


def test_its_address_space_is_bounded_and_no_thread_takes_much_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[object, ...]] = []
    library = types.SimpleNamespace(mallopt=lambda *rule: told.append(rule))
    monkeypatch.setattr("ctypes.CDLL", lambda _: library)
    monkeypatch.setattr("resource.setrlimit", lambda *limit: told.append(limit))
    engine._limit_memory(5 << 20)
    del library.mallopt  # musl has none
    engine._limit_memory(6 << 20)
    space = resource.RLIMIT_AS
    arenas = (-8, 2)  # M_ARENA_MAX of malloc.h
    assert told == [arenas, (space, (5 << 20, 5 << 20)), (space, (6 << 20, 6 << 20))]


def test_each_option_is_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    words = command(tmp_path, Weights("/model.gguf", "00"), 3, 1)[3:]
    engine._parser().parse_args(words)
    for left_out in words:
        with pytest.raises(SystemExit):
            engine._parser().parse_args([word for word in words if word != left_out])
