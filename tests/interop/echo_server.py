"""An enclave server whose chat service is replaced by one that echoes: a stand-in.

What is left is real: HTTP, opening, the replay check, Binary HTTP, padding and sealing. Takes
the arguments of `enclave-server`.
"""

import sys

from enclave_server import cli
from enclave_server.processes import worker
from protocol.binary_http import Request, Response
from protocol.gateway import Delivery


class EchoService:
    """Stands in for the chat service."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    async def dispatch(self, request: Request, delivery: Delivery) -> Response:
        """Return the request's content, and its path in a field."""
        headers = ((b"content-type", b"application/octet-stream"), (b"inner-path", request.path))
        return Response(200, headers, request.content)

    def close(self) -> None:
        """Close nothing."""


def main() -> None:
    """Serve until SIGTERM."""
    worker.ChatService = EchoService  # type: ignore[attr-defined, assignment]  # the point of this file
    sys.exit(cli.main())


if __name__ == "__main__":
    main()
