"""HAProxy before several enclaves on this machine, by the configuration that is deployed."""

import shutil
import socket
from collections.abc import Sequence
from pathlib import Path

DEPLOYED = Path(__file__).resolve().parents[1] / "deploy" / "haproxy-front.cfg"
ACCOUNT = "    user haproxy\n    group haproxy\n"
TLS = " ssl crt /etc/haproxy/front.pem alpn h2,http/1.1"
RUNTIME = "/run/haproxy/oblivious.sock mode 660 group haproxy"
PLACES = tuple(f"127.0.0.1:{port}" for port in (8443, 28443, 38443, 48443))
MOST_ENCLAVES = len(PLACES)
MAP_NAME = "oblivious-keys.map"
CONFIGURATION_NAME = "haproxy.cfg"


def program() -> str | None:
    """Return where HAProxy is, None if it is not installed."""
    return shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")


def runtime_socket(folder: Path) -> Path:
    """Return the path of the runtime socket of a configuration in `folder`."""
    return folder / "oblivious.sock"


def configuration(folder: Path, listen: str, members: Sequence[str]) -> str:
    """Return the configuration that is deployed, without TLS and with its places in `folder`.

    `listen` is what HAProxy binds, `members` are HOST:PORT of as many enclaves. ValueError if the
    deployed configuration has not what is changed here.
    """
    text = _replaced(DEPLOYED.read_text(), ACCOUNT, "")
    text = _replaced(text, "bind :443 ", f"bind {listen} ")
    text = _replaced(text, TLS, "")
    text = _replaced(text, RUNTIME, f"{runtime_socket(folder)} mode 600")
    for number, place in enumerate(PLACES, 1):
        line = f"    server enclave{number} {place} "
        if number <= len(members):
            text = _replaced(text, line, f"    server enclave{number} {members[number - 1]} ")
        else:
            text = _replaced(text, f"{line}weight 0 disabled\n", "")
    text = text.replace("weight 0 disabled", "weight 0")
    return text.replace("/etc/haproxy/", f"{folder}/")


def prepare(folder: Path, listen: str, members: Sequence[str]) -> Path:
    """Write the configuration and the map's file into `folder`; return the former's path."""
    (folder / MAP_NAME).touch()
    path = folder / CONFIGURATION_NAME
    path.write_text(configuration(folder, listen, members))
    return path


def ask(folder: Path, command: str) -> str:
    """Return what HAProxy with the configuration in `folder` says to a command; raises OSError."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(runtime_socket(folder)))
        sock.sendall(command.encode() + b"\n")
        return b"".join(iter(lambda: sock.recv(1 << 16), b"")).decode()


def owners(folder: Path, key_id: int) -> dict[int, int]:
    """Return by HAProxy's map the number of the enclave that gets each slot of a cluster's key."""
    lines = ask(folder, f"show map {folder}/{MAP_NAME}").splitlines()
    entries = (line.split()[1:] for line in lines if line.strip())
    key = f"{key_id:02X}"
    return {
        int(place.removeprefix(key), 16): int(name.removeprefix("enclave"))
        for place, name in entries
        if place.startswith(key) and place != key
    }


def free_port() -> int:
    """Return a port of the loopback interface that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _replaced(text: str, theirs: str, ours: str) -> str:
    if text.count(theirs) != 1:
        raise ValueError(f"{DEPLOYED} has not {theirs!r} once")
    return text.replace(theirs, ours)
