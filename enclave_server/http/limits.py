"""What one peer, and all of them together, may take of a worker; each can be configured."""

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in octets, times in seconds, counts per worker process."""

    # Request line and header section. Relays send a dozen fields, a few hundred octets.
    head_bytes: int = 16 * KIB
    # From the first octet of a head to its last: enough for a round trip of a bad link.
    head_seconds: float = 10.0
    # A relay sends fewer than twenty; each costs time to parse.
    head_fields: int = 100
    # The longest target of ours is an attestation nonce of 64 octets in hexadecimal.
    target_bytes: int = 1 * KIB

    # A prompt with images fits; with `buffered_bytes` it bounds what uploads may hold.
    body_bytes: int = 20 * MIB
    # A slower upload is taken for a slow-read attack: a bad mobile link does 8 KiB/s.
    body_bytes_per_second: int = 4 * KIB
    # Before the rate counts: a stall of the link, and all of a small upload.
    body_grace_seconds: float = 10.0
    # Chunks of one upload: each costs about a microsecond however small it is.
    body_chunks: int = 65_536
    # All uploads in progress or being answered, with their copies, and all answers under way,
    # together. Each of both may have its share of it (divided by `requests`) even when others have
    # taken all: so, three times this at most.
    buffered_bytes: int = 256 * MIB
    # What a request that is being answered takes: sealed, opened, its content, and what was
    # made of it for the upstream.
    body_copies: int = 4

    # Longer than the 60 s for which nginx keeps an upstream connection, so that it closes first.
    idle_seconds: float = 75.0
    # Kept below the usual 1,024 descriptors of a process; each idle one costs some kilobytes.
    connections: int = 1_000
    # Connections above the limit that may wait for their orderly 503 at one time.
    refusals: int = 100
    # Requests being answered at one time; a stream counts while it lasts.
    requests: int = 1_000
    # What a 503 tells the peer to wait.
    retry_after_seconds: int = 5

    # A reader that takes nothing of its answer for this long is gone.
    stall_seconds: float = 30.0
    # After an answer that closes: until the peer has read it and closed its side.
    linger_seconds: float = 5.0
    # What may still arrive of an upload whose answer has been sent: two whole bodies.
    linger_bytes: int = 40 * MIB
    # A peer that closed its sending side is probed this often, to notice when it has gone.
    probe_seconds: float = 0.5

    def __post_init__(self) -> None:
        """Refuse limits that would stop every request."""
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ValueError(f"limit {field.name} must be above zero")
