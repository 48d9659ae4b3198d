"""An enclave server whose chat service is replaced by one that answers at once: a stand-in.

What is left is what every request costs whatever the model: HTTP, opening, the replay check,
Binary HTTP, padding and sealing. Takes the arguments of `enclave-server`.
"""

from __future__ import annotations

import sys

from enclave_server import cli
from enclave_server.processes import worker
from protocol.binary_http import Request, Response
from protocol.gateway import Delivery
from scripts.benchmark.floor import ANSWER_BYTES

ANSWER = Response(200, ((b"content-type", b"application/json"),), b"x" * ANSWER_BYTES)


class InstantService:
    """Stands in for the chat service."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def dispatch(self, request: Request, delivery: Delivery) -> Response:
        return ANSWER

    def close(self) -> None:
        pass


def main() -> None:
    vars(worker)["ChatService"] = InstantService  # what this program is for
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
