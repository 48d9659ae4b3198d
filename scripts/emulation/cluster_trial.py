"""Two enclaves that share keys, and the parent instance by whose host_proxy they meet.

Each has a security module of its own under one root, a driver that shows it as /dev/nsm, and a CID.
The parent is a guest too, so that a join passes AF_VSOCK three times: from one enclave to the
parent, and from there to the other. The image differs from the one that is released in its
configuration, which has a cluster and no embedded model, and in that it trusts the root of these
modules in the place of AWS's. All of that is measured, alike for both.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx

from protocol.binary_http import Request, decode_response, encode_request
from protocol.encapsulation import ClientContext, encapsulate_request, preferred_config
from protocol.key_config import decode_key_configs
from protocol.registry import OHTTP_REQUEST
from protocol.slots import place_of
from scripts.emulation.emulator import PARENT_CID, SERVER_PORT, Emulator, Machine
from scripts.emulation.image_trial import RECIPE, build_image
from scripts.emulation.parent import start_parent
from scripts.emulation.report import BOOT_SECONDS, Report, TrialFailure
from scripts.emulation.using import Client, boot, host_proxy
from scripts.emulation.vhost_nsm import ROOT_NAME, Signer
from scripts.image import recipe

FIRST, SECOND = CIDS = (16, 17)
PEER_PORT = 8100
MACHINE = Machine(memory=768, processors=1)
PAUSE_SECONDS = 0.5
LOOK_SECONDS = 30.0  # for one answer
HOLES = {cid: 8101 + place for place, cid in enumerate(CIDS)}  # of the parent, to a peer port
WAYS = {cid: 8443 + place for place, cid in enumerate(CIDS)}  # of the parent, to a server
ROLE = b"arn:aws:iam::000000000000:role/emulated"
REGISTERS = {"PCR3": hashlib.sha384(bytes(48) + ROLE).hexdigest()}
CONFIGURATION = f"""\
[server]
workers = 1
[cluster]
enabled = true
listen = "vsock://any:{PEER_PORT}"
peers = {[f"vsock://{PARENT_CID}:{port}" for port in HOLES.values()]}
[[models]]
name = "m"
upstream = "nowhere"
[upstreams.nowhere]
address = "unix:/run/oblivious/nowhere"
"""
TRUSTING = """\
import base64, sys; from cryptography import x509; \
from enclave_server.security_module.nsm import NitroSecurityModule as Module; \
root = x509.load_der_x509_certificate(base64.b64decode("{root}")); \
Module.root = property(lambda module: root); \
from enclave_server.cli import main; sys.exit(main())\
"""


def try_cluster(work: Path, say: Report) -> None:
    """Boot both, see them serve one list of keys, and one go on when the other is killed."""
    with Emulator(work, say, cids=CIDS, registers=REGISTERS) as emulator:
        eif_file = build(emulator, work, say)
        start_between(emulator, work, say)
        enclaves = {FIRST: boot(emulator, eif_file, MACHINE, say, FIRST)}
        if not emulator.said("enclave", '"event": "cluster", "leads": true'):
            raise TrialFailure(f"the first does not lead:\n{emulator.tail('enclave')}")
        enclaves[SECOND] = boot(emulator, eif_file, MACHINE, say, SECOND)
        with servers(emulator) as members:
            listed = settle(emulator, members, say)
            for member in members.values():
                Client(member.gateway, eif_file, emulator).verify(say)
            serve_once_each(members, listed, say)
            lose(emulator, enclaves[FIRST], members, listed, say)


def build(emulator: Emulator, work: Path, say: Report) -> Path:
    """Return the image of both, which knows the root of their security modules."""
    root = Signer.issue(ROOT_NAME, None, 1)
    emulator.authority.write_bytes(root.pem())
    configuration = emulator.directory / "cluster.toml"
    configuration.write_text(CONFIGURATION)
    program = TRUSTING.format(root=base64.b64encode(root.der()).decode())
    python, _, options = _split(recipe.COMMAND, "enclave_server")
    command = [*python, "-c", program, *options]
    eif_file = work / "cluster.eif"
    chosen = replace(RECIPE, configuration=configuration, weights=False, command=command)
    build_image(chosen, work, eif_file, say)
    return eif_file


def _split(words: Sequence[str], module: str) -> tuple[list[str], str, list[str]]:
    """Return what stands before `-m module`, the module, and what stands behind it."""
    at = list(words).index(module)
    return [*words[: at - 1]], module, [*words[at + 1 :]]


def start_between(emulator: Emulator, work: Path, say: Report) -> None:
    """Boot the parent instance, with a way to each server and a hole to each peer port."""
    device = emulator.device(PARENT_CID)
    emulator.start_switch(
        *("--guest", f"{PARENT_CID}={device}"), *("--unix", f"{PARENT_CID}={emulator.vsock}")
    )
    command = ["/usr/bin/python3", "-I", "-B", "-m", "host_proxy"]
    for ports, inner in ((WAYS, SERVER_PORT), (HOLES, PEER_PORT)):
        for cid, port in ports.items():
            command += ["--egress", f"vsock://any:{port}=vsock://{cid}:{inner}"]
    parent = start_parent(emulator, work, command)
    emulator.wait_until("parent", parent, lambda: emulator.said("parent", "waits"), BOOT_SECONDS)
    say("parent instance booted")


@dataclass(frozen=True, slots=True)
class Server:
    """One enclave, as a front reaches it."""

    gateway: str

    def statement(self) -> dict[str, Any]:
        """Return what it says of itself, or raise httpx.HTTPError."""
        answer = httpx.get(f"{self.gateway}/v1/cluster", timeout=LOOK_SECONDS).raise_for_status()
        return dict(answer.json())

    def listed(self) -> bytes:
        """Return its list of keys, or raise httpx.HTTPError."""
        answer = httpx.get(f"{self.gateway}/v1/ohttp/config", timeout=LOOK_SECONDS)
        return answer.raise_for_status().content

    def post(self, body: bytes) -> httpx.Response:
        """Return what it answers to a sealed request."""
        head = {"content-type": OHTTP_REQUEST.decode()}
        url = f"{self.gateway}/v1/ohttp"
        return httpx.post(url, content=body, headers=head, timeout=LOOK_SECONDS)

    def owns(self, body: bytes) -> bool:
        """Whether it states that this sealed request is its to open."""
        place = place_of(body)
        ranges = [] if place is None else self.statement()["slots"].get(str(place.key_id), [])
        return any(first <= place.slot <= last for first, last in ranges if place is not None)


@contextmanager
def servers(emulator: Emulator) -> Iterator[dict[int, Server]]:
    """Give a way to each enclave, by the Unix socket that leads to the parent's vsock ports."""
    with ExitStack() as stack:
        yield {
            cid: Server(stack.enter_context(host_proxy(f"vsock-uds:{emulator.vsock}:{port}")))
            for cid, port in WAYS.items()
        }


def settle(emulator: Emulator, members: Mapping[int, Server], say: Report) -> bytes:
    """Wait until all share keys made for exactly them; return the list that clients get."""
    started = time.monotonic()
    found: list[bytes] = []

    def is_settled() -> bool:
        lists = {member.listed() for member in members.values()}
        statements = [member.statement() for member in members.values()]
        newest = str(decode_key_configs(next(iter(lists)))[0].key_id)
        alive = {said["member"] for said in statements}
        found[:] = lists
        return len(lists) == 1 and all(
            set(said["members"]) == alive and not said["unowned"] and said["slots"].get(newest)
            for said in statements
        )

    wait_until(emulator, "they share no keys", is_settled)
    taken = time.monotonic() - started
    say(f"{len(members)} member(s), one list of {len(found[0])} octets, {taken:.1f} s later")
    return found[0]


def wait_until(emulator: Emulator, failure: str, happened: Callable[[], bool]) -> None:
    """Ask until it has happened, or raise TrialFailure."""
    deadline = time.monotonic() + BOOT_SECONDS
    while not _truly(happened):
        if time.monotonic() > deadline:
            logs = "\n".join(emulator.tail(name) for name in ("enclave", "enclave17", "parent"))
            raise TrialFailure(f"{failure}:\n{logs}")
        time.sleep(PAUSE_SECONDS)


def _truly(happened: Callable[[], bool]) -> bool:
    try:
        return happened()
    except httpx.HTTPError:
        return False


def sealed(listed: bytes, owner: Server) -> tuple[bytes, ClientContext]:
    """Return a sealed request that is `owner`'s to open, and what opens its answer."""
    config = preferred_config(decode_key_configs(listed))
    date = ((b"date", formatdate(usegmt=True).encode()),)
    request = encode_request(Request(b"GET", b"https", b"sealed.invalid", b"/v1/models", date, b""))
    while True:
        body, context = encapsulate_request(config, request)
        if owner.owns(body):
            return body, context


def serve_once_each(members: Mapping[int, Server], listed: bytes, say: Report) -> None:
    """Send a request of each member's to all of them: the owner answers, the others refuse."""
    for owner, member in members.items():
        body, context = sealed(listed, member)
        others = [members[cid].post(body).status_code for cid in members if cid != owner]
        inner = opened(member.post(body), context)
        say(f"a request in a slot of CID {owner}'s: {inner} there, {others} elsewhere")
        if (inner, others) != (200, [421] * len(others)):
            raise TrialFailure("a request has not exactly one who opens it")


def opened(answer: httpx.Response, context: ClientContext) -> int:
    """Return the status inside the seal."""
    if answer.status_code != 200:
        raise TrialFailure(f"a sealed request was answered {answer.status_code}")
    return decode_response(context.open_response(answer.content)).status


def lose(
    emulator: Emulator,
    leader: subprocess.Popen[bytes],
    members: Mapping[int, Server],
    listed: bytes,
    say: Report,
) -> None:
    """Kill the leader: its requests are nobody's, and the other makes keys and serves alone."""
    survivor = members[SECOND]
    lost, _ = sealed(listed, members[FIRST])
    own, context = sealed(listed, survivor)
    emulator.kill(leader)
    say("the leader is killed")
    if opened(survivor.post(own), context) != 200:
        raise TrialFailure("the survivor does not serve on with the keys that it has")
    wait_until(emulator, "no new keys were told", lambda: survivor.listed() != listed)
    newest = settle(emulator, {SECOND: survivor}, say)
    dead = survivor.post(lost).status_code
    body, context = sealed(newest, survivor)
    inner = opened(survivor.post(body), context)
    say(f"sealed to the lost one: {dead}; to the new keys: {inner}")
    if (dead, inner) != (422, 200):
        raise TrialFailure("the survivor does not go on")
