"""A name server that knows one address, which can be changed (RFC 1035)."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

ADDRESS_TYPE = 1
REFUSES = 0x8182  # an answer, with SERVFAIL
ANSWERS = 0x8180
TO_THE_NAME_ASKED_FOR = 0xC00C
SECONDS = 1  # that an answer may be kept
HEAD_BYTES = 12


@dataclass
class NameServer:
    """Answers every question for an IPv4 address with `address`, or fails while there is none."""

    port: int
    address: str | None = None

    def reply(self, question: bytes) -> bytes:
        """Return the answer to a packet with one question."""
        end = question.index(b"\0", HEAD_BYTES) + 5  # the name, its type and class
        (kind,) = struct.unpack(">H", question[end - 4 : end - 2])
        record = b""
        if self.address is not None and kind == ADDRESS_TYPE:
            meta = struct.pack(">HHHIH", TO_THE_NAME_ASKED_FOR, ADDRESS_TYPE, 1, SECONDS, 4)
            record = meta + socket.inet_aton(self.address)
        flags = REFUSES if self.address is None else ANSWERS
        head = question[:2] + struct.pack(">HHHHH", flags, 1, bool(record), 0, 0)
        return head + question[HEAD_BYTES:end] + record


@contextlib.contextmanager
def name_server() -> Iterator[NameServer]:
    """Run a name server on a free port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        server = NameServer(listener.getsockname()[1])

        def serve() -> None:
            while True:
                question, client = listener.recvfrom(512)
                if not question:
                    return
                listener.sendto(server.reply(question), client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", ("127.0.0.1", server.port))
            thread.join()
