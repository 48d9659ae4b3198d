"""A connection on which both enclaves have proven themselves: sealed messages over frames."""

from enclave_server.cluster.stream import FrameStream
from protocol.cluster_channel import Channel
from protocol.cluster_state import Message, decode_message, encode_message


class Link:
    """Sends and receives whole messages; raises PeerGone, and ProtocolError for what is forged."""

    __slots__ = ("_channel", "stream")

    def __init__(self, stream: FrameStream, channel: Channel) -> None:
        self.stream = stream
        self._channel = channel

    def send(self, message: Message) -> None:
        """Send one message, as far as the peer takes it now."""
        self.stream.send(self._channel.sealing.seal(encode_message(message)))

    def receive(self) -> Message | None:
        """Return the next message, None if it is not there yet."""
        while (frame := self.stream.next()) is not None:
            message = self._channel.opening.open(frame)
            if message is not None:
                return decode_message(message)
        return None

    def close(self) -> None:
        """End the connection."""
        self.stream.close()
