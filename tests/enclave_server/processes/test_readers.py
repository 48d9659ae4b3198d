"""Readers: each does one job, in a process that is bounded and whose end hurts nobody."""

import asyncio
import gc
import json
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.processes import readers
from enclave_server.processes.readers import Readers, Work

DEADLINE = 120.0  # seconds, so that nothing hangs
LARGE = bytes(range(256)) * (20 << 12)  # 20 MiB


@contextmanager
def template(work: Work) -> Iterator[socket.socket]:
    with readers.start(work) as channel:
        yield channel
    os.waitpid(-1, 0)  # without its socket it ends by itself


def do(work: Work, *jobs: bytes) -> list[bytes | BaseException]:
    async def main(channel: socket.socket) -> list[bytes | BaseException]:
        large = Readers(channel)
        async with asyncio.timeout(DEADLINE):
            results = await asyncio.gather(*map(large.do, jobs), return_exceptions=True)
            return [bytes(each) if isinstance(each, bytearray) else each for each in results]

    with template(work) as channel:
        return asyncio.run(main(channel))


def assert_unread(result: object) -> None:
    assert isinstance(result, ChatError)
    assert result.status == 503


def test_jobs_of_any_size_come_back() -> None:
    assert do(lambda job: job[::-1], b"job", LARGE, b"x" * 70_000) == [
        b"boj",
        LARGE[::-1],
        b"x" * 70_000,
    ]


def test_each_job_has_a_process_of_its_own() -> None:
    pids = do(lambda job: str(os.getpid()).encode(), *(b"job" for _ in range(5)))
    assert len({*pids, str(os.getpid()).encode()}) == 6


def test_a_reader_has_no_descriptor_of_the_worker() -> None:
    def count(job: bytes) -> bytes:
        return b"%d" % len(list(Path("/proc/self/fd").iterdir()))

    with socket.socket():
        # The three standard ones, its exchange, and the folder that it lists.
        assert do(count, b"job") == [b"5"]


def test_the_loop_goes_round_while_a_job_is_done() -> None:
    async def main(channel: socket.socket) -> int:
        rounds = 0
        task = asyncio.create_task(Readers(channel).do(LARGE))
        while not task.done():
            rounds += 1
            await asyncio.sleep(0)
        assert await task == b"done"
        return rounds

    with template(lambda job: b"done") as channel:
        # A socket holds some hundred kilobytes: the job alone needs more rounds than this.
        assert asyncio.run(main(channel)) > 20


def exhaust(job: bytes) -> bytes:
    return bytes(2 * readers.MEMORY_BYTES) if job == b"exhaust" else job


def kill(job: bytes) -> bytes:
    if job == b"kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return job


@pytest.mark.parametrize("work", [exhaust, kill])
def test_a_reader_that_fails_fails_alone(work: Work, capfd: pytest.CaptureFixture[str]) -> None:
    failed, other = do(work, work.__name__.encode(), b"other")
    assert_unread(failed)
    assert other == b"other"


def test_a_reader_is_bounded() -> None:
    def limits(job: bytes) -> bytes:
        kinds = (resource.RLIMIT_CPU, resource.RLIMIT_AS)
        return json.dumps([resource.getrlimit(kind) for kind in kinds]).encode()

    (found,) = do(limits, b"job")
    assert isinstance(found, bytes)
    cpu, memory = json.loads(found)
    assert cpu == [readers.CPU_SECONDS, readers.CPU_SECONDS]
    assert readers.MEMORY_BYTES < memory[0] < 2**40


def test_no_more_than_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "AT_ONCE", 1)
    there = tmp_path / "there"

    def alone(job: bytes) -> bytes:
        there.touch(exist_ok=False)
        there.unlink()
        return b"alone"

    assert do(alone, *(b"job" for _ in range(8))) == [b"alone"] * 8


def test_without_its_template_nothing_is_read_and_the_worker_knows() -> None:
    async def main(channel: socket.socket) -> None:
        large = Readers(channel)
        told = asyncio.Event()
        large.when_gone(told.set)
        pid = int(await large.do(b"whose?"))
        assert not told.is_set()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(DEADLINE):
            await told.wait()
        with pytest.raises(ChatError):
            await large.do(b"job")

    with template(lambda job: str(os.getppid()).encode()) as channel:
        asyncio.run(main(channel))


def test_a_reader_shares_the_memory_of_its_template_and_looks_for_no_garbage() -> None:
    def look(job: bytes) -> bytes:
        ignored = signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
        return json.dumps([gc.isenabled(), gc.get_freeze_count() > 0, ignored]).encode()

    (found,) = do(look, b"job")
    assert isinstance(found, bytes)
    assert json.loads(found) == [False, True, True]


def test_a_reader_may_take_what_it_is_promised_beyond_what_there_is() -> None:
    def limits(job: bytes) -> bytes:
        there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        return b"%d" % (resource.getrlimit(resource.RLIMIT_AS)[0] - there)

    (found,) = do(limits, b"job")
    assert isinstance(found, bytes)
    assert abs(int(found) - readers.MEMORY_BYTES) < 64 << 20  # what it has taken meanwhile


def test_no_descriptor_outlives_its_worker_in_the_template() -> None:
    """Not even those that stand right beside the template's own."""
    pairs = [socket.socketpair() for _ in range(3)]
    for free in pairs[1]:
        free.close()  # between the two others, for the template's channel
    (heard_before, before), (after, heard_after) = pairs[0], pairs[2]
    with template(lambda job: job) as channel, heard_before, heard_after:
        assert before.fileno() < channel.fileno() < after.fileno()
        for told, heard in ((before, heard_before), (after, heard_after)):
            told.close()
            heard.settimeout(DEADLINE)
            assert heard.recv(1) == b""
