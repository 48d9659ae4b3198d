"""Feeding and awaiting the kernel's pool, with a file and functions in its place."""

import contextlib
import errno
import struct
from pathlib import Path

import pytest
from cryptography import x509

from enclave_server.security_module.entropy import (
    RNDADDENTROPY,
    SEED_BYTES,
    EntropyError,
    Mixing,
    mix_entropy,
    wait_for_pool,
)
from enclave_server.security_module.nsm import Description
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.evidence import Platform


class Module:
    """A security module whose randomness is known."""

    platform = Platform.AWS_NITRO

    def attest(
        self, user_data: bytes | None, public_key: bytes | None, nonce: bytes | None
    ) -> bytes:
        raise NotImplementedError

    def random(self, count: int) -> bytes:
        return b"r" * count

    def describe(self) -> Description:
        raise NotImplementedError

    def describe_pcr(self, index: int) -> bytes:
        raise NotImplementedError

    @property
    def root(self) -> x509.Certificate:
        raise NotImplementedError


class Pool:
    """In place of the ioctl: notes what was added, or refuses."""

    def __init__(self, error: int = 0) -> None:
        self.error = error
        self.added: list[bytes] = []

    def __call__(self, descriptor: int, number: int, information: bytes) -> int:
        assert number == RNDADDENTROPY
        if self.error:
            raise OSError(self.error, "refused")
        self.added.append(information)
        return 0


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "urandom"
    path.touch()
    return path


def test_the_modules_randomness_is_credited(device: Path) -> None:
    pool = Pool()
    assert mix_entropy(Module(), ioctl=pool, device=str(device)) is Mixing.CREDITED
    head = struct.pack("@ii", 8 * SEED_BYTES, SEED_BYTES)
    assert pool.added == [head + b"r" * SEED_BYTES]
    assert device.read_bytes() == b""


def test_without_privilege_it_is_written(device: Path) -> None:
    pool = Pool(errno.EPERM)
    assert mix_entropy(Module(), ioctl=pool, device=str(device)) is Mixing.UNCREDITED
    assert device.read_bytes() == b"r" * SEED_BYTES


def test_the_kernels_own_randomness_is_never_credited(device: Path) -> None:
    pool = Pool()
    module = SimulatedSecurityModule()
    assert mix_entropy(module, ioctl=pool, device=str(device)) is Mixing.UNCREDITED
    assert pool.added == []
    assert len(device.read_bytes()) == SEED_BYTES


def test_a_pool_that_takes_nothing(device: Path, tmp_path: Path) -> None:
    with pytest.raises(EntropyError):
        mix_entropy(Module(), ioctl=Pool(errno.EINVAL), device=str(device))
    with pytest.raises(EntropyError):
        mix_entropy(Module(), ioctl=Pool(), device=str(tmp_path / "absent"))


@pytest.mark.parametrize("error", [0, errno.EPERM, errno.EINVAL])
def test_the_device_is_closed_whatever_it_takes(device: Path, error: int) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    with contextlib.suppress(EntropyError):
        mix_entropy(Module(), ioctl=Pool(error), device=str(device))
    assert set(Path("/proc/self/fd").iterdir()) == before


class Kernel:
    """A generator that is seeded after some time on a clock of its own."""

    def __init__(self, ready_at: float) -> None:
        self.ready_at = ready_at
        self.now = 100.0

    def getrandom(self, count: int, flags: int) -> bytes:
        assert (count, flags) == (1, 1)  # GRND_NONBLOCK
        if self.now < self.ready_at:
            raise BlockingIOError
        return b"r"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


def waited(kernel: Kernel, seconds: float) -> float:
    start = kernel.now
    wait_for_pool(
        seconds=seconds, getrandom=kernel.getrandom, sleep=kernel.sleep, clock=kernel.clock
    )
    return kernel.now - start


def test_a_pool_that_is_ready_costs_no_time() -> None:
    assert waited(Kernel(ready_at=0), 30) == 0


def test_a_pool_that_becomes_ready_is_awaited() -> None:
    assert waited(Kernel(ready_at=105), 30) == pytest.approx(5, abs=0.1)


def test_a_pool_that_does_not_become_ready_is_refused() -> None:
    with pytest.raises(EntropyError, match="not seeded after 30 s"):
        waited(Kernel(ready_at=1000), 30)


def test_this_machines_pool() -> None:
    wait_for_pool()
    assert mix_entropy(SimulatedSecurityModule()) is Mixing.UNCREDITED


def test_the_number_of_the_request_is_that_of_the_kernel() -> None:
    """_IOW('R', 0x03, int[2]) of linux/random.h."""
    assert 1 << 30 | struct.calcsize("@ii") << 16 | ord("R") << 8 | 3 == RNDADDENTROPY
