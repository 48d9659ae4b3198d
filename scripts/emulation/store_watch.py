"""The host before its store of spent tokens: carries what is asked of it, and keeps a copy.

Who reads along there is the operator of the host. What he may not learn is in `faults`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from enclave_server.payment.nullifier import BYTES
from enclave_server.payment.resp import OWNER_BYTES

PIECE_BYTES = 1 << 16
MOST_CONNECTIONS = 32  # of one worker there are two at a time
VALUE_BYTES = 1 + OWNER_BYTES
END = b"\r\n"

Command = tuple[bytes, ...]


class StoreWatch:
    """Listens at a Unix socket, and carries each connection to the store's."""

    def __init__(self, path: Path, store: Path) -> None:
        self.path, self._store = path, store
        self._asked: list[bytearray] = []  # by connection
        self._listener = socket.socket(socket.AF_UNIX)
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # which `accept` notices, unlike a close
        self._accepting.join()
        self._listener.close()

    def commands(self) -> list[Command]:
        """Return what was asked as far as it has come, connection after connection."""
        return [command for asked in list(self._asked) for command in commands_in(bytes(asked))]

    def _accept(self) -> None:
        with ThreadPoolExecutor(MOST_CONNECTIONS) as carriers:
            while True:
                try:
                    client, _ = self._listener.accept()
                except OSError:
                    return
                self._asked.append(bytearray())
                carriers.submit(self._carry, client, self._asked[-1])

    def _carry(self, client: socket.socket, asked: bytearray) -> None:
        """Carry a connection both ways, until either end closes."""
        with client, socket.socket(socket.AF_UNIX) as store:
            try:
                store.connect(str(self._store))
            except OSError:
                return  # it is away, as whoever asks shall see
            replies = threading.Thread(target=_copy, args=(store, client, bytearray()))
            replies.start()
            _copy(client, store, asked)
            replies.join()


def _copy(source: socket.socket, target: socket.socket, copy: bytearray) -> None:
    """Carry one direction to its end, which ends the other as well."""
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            copy += piece
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def commands_in(asked: bytes) -> list[Command]:
    """Return the whole commands that a stream begins with; ValueError if it is none of RESP."""
    commands = []
    while asked:
        try:
            command, asked = _command(asked)
        except IndexError:  # the rest has not come
            break
        commands.append(command)
    return commands


def _command(asked: bytes) -> tuple[Command, bytes]:
    count, asked = _number(b"*", asked)
    parts = []
    for _ in range(count):
        size, asked = _number(b"$", asked)
        part, end, asked = asked[:size], asked[size : size + len(END)], asked[size + len(END) :]
        if len(end) < len(END):
            raise IndexError
        if end != END:
            raise ValueError("a part of a command is longer than it says")
        parts.append(part)
    return tuple(parts), asked


def _number(mark: bytes, asked: bytes) -> tuple[int, bytes]:
    line, end, rest = asked.partition(END)
    if not end:
        raise IndexError
    if line[:1] != mark or not line[1:].isdigit():
        raise ValueError("not a command of RESP")
    return int(line[1:]), rest


def holds(commands: Iterable[Command]) -> list[Command]:
    """Return the commands that hold a token."""
    return [command for command in commands if b"NX" in command]


def commits(commands: Iterable[Command]) -> list[Command]:
    """Return the commands that spend one."""
    return [command for command in commands if b"EXAT" in command]


def returns(commands: Iterable[Command]) -> list[Command]:
    """Return the commands that give one back."""
    return [command for command in commands if command[0] == b"EVAL"]


def shape(command: Command) -> Sequence[bytes | int]:
    """Return all of a command but what is random: the words, and the sizes of the rest."""
    return tuple(len(part) if len(part) in (BYTES, VALUE_BYTES) else part for part in command)


def faults(
    commands: Sequence[Command], shown: Mapping[bytes, int], secrets: Iterable[bytes]
) -> list[str]:
    """Return what the host can learn that it must not, a sentence each.

    `shown` says how often each token was shown, by its nullifier; a hold whose reply was lost is
    asked for once more with the same words. `secrets` are parts of tokens.
    """
    found = []
    kinds = {"holds": holds, "commits": commits, "returns": returns}
    chosen = {name: choose(commands) for name, choose in kinds.items()}
    if sum(map(len, chosen.values())) != len(commands):
        found.append("there are other commands than the three")
    for name, of_kind in chosen.items():
        if len({shape(command) for command in of_kind}) > 1:
            found.append(f"{name} differ in more than what is random")
    asked = set(chosen["holds"])
    names, owners = Counter(each[1] for each in asked), Counter(each[2] for each in asked)
    if any(count > shown.get(name, 0) for name, count in names.items()):
        found.append("a name comes again that was not shown again")
    if any(count > 1 for count in owners.values()):
        found.append("an owner comes again")
    spent = {(each[1], each[2][1:]) for each in chosen["commits"]}
    if not spent <= {(each[1], each[2][1:]) for each in asked}:
        found.append("something is spent that was not held")
    # What is given back may be of a hold that never came here, as its connection had ended.
    if not {each[3] for each in chosen["returns"]} <= set(shown):
        found.append("something is given back that was not shown")
    passed = b"".join(part for command in commands for part in command)
    if any(secret in passed for secret in secrets):
        found.append("a part of a token passes")
    return found
