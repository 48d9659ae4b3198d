"""From a configuration to a server that serves, one step after the other.

Every step either succeeds or raises StartError, whose text is one sentence that says what to do.
Nothing listens before the module, the clock and the kernel's randomness have been found good.
"""

import contextlib
import enum
import gc
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from enclave_server.addresses import (
    Address,
    UnixAddress,
    bound_address,
    listen_socket,
    parse_address,
)
from enclave_server.chat.models import ModelTable
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.cluster.beginning import NobodyLeads, Stopped
from enclave_server.cluster.identity import Unequal
from enclave_server.cluster.member import Member
from enclave_server.config import Config
from enclave_server.engine.child import Engine, Problem, Weights, installed_weights
from enclave_server.engine.folder import SOCKET_NAME, socket_folder
from enclave_server.gateway.replay import ReplayFilter
from enclave_server.hardening import give_back_memory, protect_memory
from enclave_server.http import descriptors
from enclave_server.http.rooms import Rooms
from enclave_server.keys.attester import Attester
from enclave_server.keys.keeper import KeyKeeper
from enclave_server.log import Log
from enclave_server.processes.catalogue import build_models, engine_share
from enclave_server.processes.joining import join_cluster, schedule_of
from enclave_server.processes.payment import NoEpoch, make_till, warn_of_end
from enclave_server.processes.pool import Pool
from enclave_server.processes.readiness import Readiness
from enclave_server.processes.stop_signals import StopSignals
from enclave_server.processes.supervisor import EngineFails, Supervisor, WorkersFail
from enclave_server.processes.worker import Inheritance, run_worker
from enclave_server.security_module.clock import ClockError
from enclave_server.security_module.entropy import EntropyError, mix_entropy, wait_for_pool
from enclave_server.security_module.nsm import NsmError, SecurityModule
from protocol.evidence import Platform
from protocol.signature import SigningKeys


class ExitCode(enum.IntEnum):
    """What the exit status of `enclave-server` means."""

    ENDED = 0
    FAILED = 1
    USAGE = 2
    ADDRESS = 3
    MODULE = 4
    CLOCK = 5
    MODEL = 6


class StartError(Exception):
    """The server cannot serve; the text says what to do about it."""

    def __init__(self, code: ExitCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def check(config: Config) -> None:
    """Raise StartError for settings with which `serve` would end on any machine."""
    _models(config, "engine.sock", ProvisionedKeys())
    weights = _weights(config) or installed_weights()
    if config.uses_engine and (weights is None or not Path(weights.path).is_file()):
        raise StartError(ExitCode.MODEL, Problem.NO_WEIGHTS.sentence)


def serve(config: Config, module: SecurityModule, log: Log) -> None:
    """Serve until SIGTERM or SIGINT; raises StartError."""
    started = time.monotonic()
    protect_memory()
    give_back_memory()
    if module.platform is Platform.SIMULATED:
        log.event("simulated_evidence", proves="nothing")
    if config.stream.padding == "off":
        log.event("padding_off", shown="sizes-and-times-of-answers")
    config = _within_descriptors(config, log)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_as_start_errors())
        signals = stack.enter_context(StopSignals())
        # The engine reads its weights while the keys are made.
        engine, engine_socket = stack.enter_context(_running_engine(config))
        provisioned = ProvisionedKeys()
        models = _models(config, engine_socket, provisioned)
        _report_absent_keys(config, models, log)
        till = make_till(config, time.time(), log)
        signing_keys, attester, keeper, member = _make_keys(config, module, log, signals, stack)
        listener = stack.enter_context(_listening(config.server.listen))
        replays = ReplayFilter(config.replay.capacity)
        readiness = Readiness()
        inheritance = Inheritance(
            config,
            listener,
            signing_keys,
            attester,
            replays,
            models,
            provisioned,
            readiness,
            Rooms(config.server.workers),
            till,
        )
        supervisor = Supervisor(
            signals,
            keeper,
            engine,
            log,
            readiness,
            wants_secrets=bool(config.wanted_secrets),
            grace_seconds=config.server.grace_seconds,
            member=member,
            hourly=lambda: warn_of_end(till, log),
        )

        def work(number: int, channel: socket.socket) -> int:
            supervisor.forget()
            return run_worker(inheritance, number, channel)

        def announce() -> None:
            log.event(
                "ready",
                address=str(bound_address(listener)),
                workers=config.server.workers,
                platform=module.platform.value,
                milliseconds=round(1000 * (time.monotonic() - started)),
            )

        pool = Pool(config.server.workers, work, log)
        gc.freeze()  # collections in workers would otherwise copy the pages that they share
        supervisor.serve(pool, announce, lambda: _stop_listening(listener))


def _within_descriptors(config: Config, log: Log) -> Config:
    """Return `config` with limits for which there are descriptors; tell if those are smaller."""
    have, wanted = descriptors.allow(config.limits), descriptors.needed(config.limits)
    limits = descriptors.fitted(config.limits, have)
    if have < wanted:
        log.event("few_descriptors", have=have, wanted=wanted, connections=limits.connections)
    return msgspec.structs.replace(config, limits=limits)


@contextlib.contextmanager
def _running_engine(config: Config) -> Iterator[tuple[Engine | None, str]]:
    """Yield the embedded engine, started, and its socket's path; None if no model needs it."""
    if not config.uses_engine:
        yield None, ""
        return
    with socket_folder() as folder:
        path = str(folder / SOCKET_NAME)
        workers = config.server.workers
        engine = Engine(
            _weights(config),
            threads=config.engine.threads,
            connections=workers * engine_share(workers),
            memory_mib=config.engine.memory_mib,
        )
        engine.start(path)
        try:
            if engine.problem is not None:
                raise EngineFails(engine.problem.sentence)
            yield engine, path
        finally:
            engine.stop()


def _weights(config: Config) -> Weights | None:
    file, digest = config.engine.model_file, config.engine.sha256
    return Weights(file, digest) if file is not None and digest is not None else None


def _models(config: Config, engine_socket: str, provisioned: ProvisionedKeys) -> ModelTable:
    try:
        return build_models(config, engine_socket, provisioned)
    except ValueError as error:
        raise StartError(ExitCode.USAGE, f"{error}; correct the configuration") from error


def _report_absent_keys(config: Config, models: ModelTable, log: Log) -> None:
    # Clients are told 503; a wrong name of a variable or file should be found before them.
    for upstream in models.upstreams():
        if upstream.key is None or config.upstreams[upstream.name].key_provisioned:
            continue
        if upstream.key() is None:
            log.event("key_absent", upstream=upstream.name)


def _make_keys(
    config: Config,
    module: SecurityModule,
    log: Log,
    signals: StopSignals,
    stack: contextlib.ExitStack,
) -> tuple[SigningKeys, Attester, KeyKeeper, Member | None]:
    """Return the signing keys, what attests them, and the keeper of the HPKE keys.

    All are made of good randomness, or are those of a cluster: its leader's, unless this is its
    first enclave.
    """
    mixing = mix_entropy(module)
    wait_for_pool()
    log.event("randomness", mixing=mixing.value)
    if config.cluster.enabled:
        listener = stack.enter_context(_listening(config.cluster.listen))
        stack.callback(_remove_socket, bound_address(listener))
        return join_cluster(config, module, listener, signals, log)
    signing_keys = SigningKeys.generate()
    catalogue = config.catalogue
    attester = Attester(module, signing_keys, None if catalogue is None else catalogue.encode())
    keeper = KeyKeeper(
        schedule_of(config),
        attester,
        signing_keys,
        refresh=config.evidence.refresh_seconds,
        now=time.time(),
    )
    return signing_keys, attester, keeper, None


@contextlib.contextmanager
def _listening(address: str) -> Iterator[socket.socket]:
    try:
        listener = listen_socket(parse_address(address))
    except OSError as error:
        raise StartError(
            ExitCode.ADDRESS,
            f"cannot listen on {address}: {error.strerror or error}; choose another with --listen",
        ) from error
    with listener:
        yield listener


def _stop_listening(listener: socket.socket) -> None:
    # While it still listens: so the socket that is removed is never another server's.
    _remove_socket(bound_address(listener))
    listener.close()


def _remove_socket(address: Address) -> None:
    if isinstance(address, UnixAddress):
        with contextlib.suppress(OSError):
            Path(address.path).unlink()


@contextlib.contextmanager
def _as_start_errors() -> Iterator[None]:
    """Turn what may end a server into sentences."""
    try:
        yield
    except NsmError as error:
        raise StartError(
            ExitCode.MODULE, f"{error}; choose another with --nsm, or try with --simulated-nsm"
        ) from error
    except EntropyError as error:
        raise StartError(ExitCode.MODULE, f"no keys are made: {error}") from error
    except ClockError as error:
        raise StartError(ExitCode.CLOCK, str(error)) from error
    except NobodyLeads as error:
        raise StartError(
            ExitCode.FAILED,
            "peers are there and none of them leads: start one alone, or close the way to them",
        ) from error
    except Unequal as error:
        raise StartError(ExitCode.MODULE, f"no other enclave can be its equal: {error}") from error
    except Stopped as error:
        raise StartError(ExitCode.ENDED, "told to end before it had keys") from error
    except NoEpoch as error:
        raise StartError(ExitCode.USAGE, str(error)) from error
    except EngineFails as error:
        raise StartError(ExitCode.MODEL, str(error)) from error
    except WorkersFail as error:
        raise StartError(
            ExitCode.FAILED, "the workers end before they serve; the log above says where"
        ) from error
