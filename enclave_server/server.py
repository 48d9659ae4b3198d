"""Connections of outer HTTP, on asyncio, over an injected listening socket."""

import socket

from enclave_server.limits import Limits
from enclave_server.log import Log
from enclave_server.outer import Handler, OuterRequest, OuterResponse, Screen, admit

__all__ = ["Handler", "OuterRequest", "OuterResponse", "Screen", "Server"]


class Server:
    """Accepts connections and brings each whole request to the handler."""

    def __init__(
        self,
        listener: socket.socket,
        handler: Handler,
        limits: Limits,
        log: Log,
        *,
        screen: Screen = admit,
    ) -> None:
        """Take over `listener`; nothing is accepted before `start`."""
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to accept connections."""
        raise NotImplementedError

    async def drain(self, grace_seconds: float) -> None:
        """Stop accepting, finish what is running within the time, end everything else."""
        raise NotImplementedError
