"""The start of an enclave of a cluster: it finds its place, and has its keys from there."""

import socket
import time
from collections.abc import Sequence

from enclave_server.addresses import parse_address
from enclave_server.cluster.beginning import Beginning
from enclave_server.cluster.doors import Doors
from enclave_server.cluster.identity import make_identity
from enclave_server.cluster.member import Member
from enclave_server.cluster.part import Terms
from enclave_server.cluster.signing import decode_signing_keys
from enclave_server.config import Config
from enclave_server.keys.attester import Attester
from enclave_server.keys.keeper import KeyKeeper, Succession
from enclave_server.keys.ring import KeyRing, Schedule
from enclave_server.log import Log
from enclave_server.processes.stop_signals import StopSignals
from enclave_server.security_module.nsm import SecurityModule
from protocol.signature import SigningKeys


def schedule_of(config: Config) -> Schedule:
    """Return the life of keys as it is configured."""
    keys = config.keys
    return Schedule(keys.lifetime_seconds, keys.announce_seconds, keys.grace_seconds)


def join_cluster(
    config: Config,
    module: SecurityModule,
    listener: socket.socket,
    signals: StopSignals,
    log: Log,
) -> tuple[SigningKeys, Attester, KeyKeeper, Member]:
    """Return the keys of a cluster and this enclave's part in it.

    Raises NsmError, Unequal, NobodyLeads, Stopped and ClockError.
    """
    table = config.cluster
    identity = make_identity(module, table.same)
    doors = Doors(listener, identity, log, time.monotonic())
    peers = tuple(parse_address(peer) for peer in table.peers)

    def waiting(sockets: Sequence[socket.socket], seconds: float) -> bool:
        signals.wait(sockets, seconds)
        return not signals.count

    joined = Beginning(identity, doors, peers, table.join_seconds).find(waiting)
    if joined is None:
        signing_keys = SigningKeys.generate()
    else:
        signing_keys = decode_signing_keys(joined.state.rsa, joined.state.ed25519)
    catalogue = config.catalogue
    attester = Attester(module, signing_keys, None if catalogue is None else catalogue.encode())
    terms = Terms(peers, schedule_of(config), table.route_seconds)

    def make_keeper(ring: KeyRing, succession: Succession, announced: bool) -> KeyKeeper:
        return KeyKeeper(
            terms.schedule,
            attester,
            signing_keys,
            refresh=config.evidence.refresh_seconds,
            now=time.time(),
            ring=ring,
            succession=succession,
            announced=announced,
        )

    member = Member(
        identity,
        terms,
        doors,
        signing_keys,
        make_keeper,
        log,
        joined=joined,
        unix=time.time(),
        now=time.monotonic(),
    )
    log.event("cluster", leads=member.leads, members=len(member.company.members))
    return signing_keys, attester, member.keeper, member
