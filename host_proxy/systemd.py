"""Speaking to systemd without its library: readiness, watchdog, sockets passed in.

Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

import os
import socket
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final

from host_proxy.addresses import AddressError

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
MOST_DIGITS: Final = 20  # of a number of 64 bits


class Notifier:
    """Tells the service manager the state; says nothing where there is none."""

    __slots__ = ("_address", "_fd")

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path
        # Kept for the life of the process: without it, running out of descriptors would silence
        # the watchdog, and the manager would end what still carries.
        self._fd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach() if path else -1

    def tell(self, *lines: str) -> None:
        """Send assignments such as `READY=1`; a manager that does not listen is no error."""
        if not self._address:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM, fileno=self._fd)
        try:
            sock.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, self._address)
        except OSError:
            return
        finally:
            sock.detach()

    def live(
        self, every: Callable[[float, Callable[[], object]], object], watchdog: float | None
    ) -> None:
        """Have `every` give a sign of life twice in the manager's time, as it is recommended.

        Of None seconds nothing is wanted.
        """
        if watchdog is not None:
            every(watchdog / 2, lambda: self.tell("WATCHDOG=1"))


def watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return how often the manager wants a sign of life, None for never."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not _is_number(microseconds) or int(microseconds) == 0:
        return None
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000


def passed_sockets(environment: MutableMapping[str, str]) -> dict[str, socket.socket]:
    """Take the listening sockets meant for this process, by name; for no child to see again.

    Raises AddressError if one of them is not an open socket.
    """
    pid, count, names = (
        environment.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()) or not _is_number(count):
        return {}
    named = names.split(":") if names else []
    passed: dict[str, socket.socket] = {}
    for index in range(int(count)):
        name = named[index] if index < len(named) else "unknown"
        passed[name] = _passed_socket(FIRST_FD + index)
    return passed


def _is_number(text: str) -> bool:
    """Whether `text` is digits that int() takes, and few enough of them."""
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS


def _passed_socket(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        return socket.socket(fileno=fd)
    except OSError as error:
        raise AddressError(f"descriptor {fd} that systemd passed is not open") from error
