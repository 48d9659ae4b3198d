"""The kernel's randomness: mixed with the security module's, and waited for before keys are made.

An enclave boots with few sources of entropy, so its module's generator is added to the pool. See
random(4) for the ioctl and getrandom(2) for readiness.
"""

import enum
import fcntl
import os
import struct
import time
from collections.abc import Callable

from enclave_server.security_module.nsm import SecurityModule
from protocol.evidence import Platform

RNDADDENTROPY = 0x40085203
"""_IOW('R', 0x03, int[2]): struct rand_pool_info."""

DEVICE = "/dev/urandom"
SEED_BYTES = 512
"""Twice what the module gives in one call, sixteen times what the kernel's generator needs."""

POOL_SECONDS, POLL_SECONDS = 30.0, 0.05

Ioctl = Callable[[int, int, bytes], object]


class EntropyError(Exception):
    """The kernel's pool cannot be fed, or is not ready: no keys may be made."""


class Mixing(enum.Enum):
    """How the module's randomness went into the pool."""

    CREDITED = "credited"
    UNCREDITED = "uncredited"


def mix_entropy(
    module: SecurityModule, *, ioctl: Ioctl = fcntl.ioctl, device: str = DEVICE
) -> Mixing:
    """Add the module's randomness to the kernel's pool, counted as entropy where that is allowed.

    Raises NsmError if the module gives none, EntropyError if the pool takes none.
    """
    seed = module.random(SEED_BYTES)
    try:
        descriptor = os.open(device, os.O_WRONLY)
        try:
            # A simulated module hands back what the kernel gave it, which adds nothing to count.
            if module.platform is not Platform.SIMULATED and _credit(descriptor, seed, ioctl):
                return Mixing.CREDITED
            os.write(descriptor, seed)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EntropyError(f"{device}: {os.strerror(error.errno or 0)}") from None
    return Mixing.UNCREDITED


def wait_for_pool(
    *,
    seconds: float = POOL_SECONDS,
    getrandom: Callable[[int, int], bytes] = os.getrandom,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Return once the kernel's generator is seeded; EntropyError after `seconds`."""
    deadline = clock() + seconds
    while not _is_ready(getrandom):
        if clock() >= deadline:
            raise EntropyError(f"the kernel's random generator is not seeded after {seconds:.0f} s")
        sleep(POLL_SECONDS)


def _credit(descriptor: int, seed: bytes, ioctl: Ioctl) -> bool:
    """Add `seed` as entropy; False if this process may not say how much entropy there is."""
    information = struct.pack("@ii", 8 * len(seed), len(seed)) + seed
    try:
        ioctl(descriptor, RNDADDENTROPY, information)
    except PermissionError:
        return False
    return True


def _is_ready(getrandom: Callable[[int, int], bytes]) -> bool:
    try:
        getrandom(1, os.GRND_NONBLOCK)
    except BlockingIOError:
        return False
    return True
