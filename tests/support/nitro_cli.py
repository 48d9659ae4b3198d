#!/usr/bin/env python3
"""A stand-in for AWS's nitro-cli, for hosts without Nitro.

It is AWS's 1.5.2 in what is asked of it here: the reader's demands on an image, the JSON, the
errors and exit codes, and that the process that keeps an enclave reads the image in the background,
so that an unreadable one boots, and is ended when it is first described. It reads no signatures. No
hardware is behind it: an "enclave" is a process that answers HTTP at a Unix socket. $STATE names
its directory; a file there says how to misbehave: `lenient` makes describe-eif take every image,
`mute` makes enclaves accept and never answer, `slow` makes them boot for two seconds, `boots-not`
makes run-enclave fail.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

STATE = Path(os.environ.get("STATE", "/nowhere"))
HEADER_BYTES = 548
KERNEL, CMDLINE, RAMDISK, SIGNATURE, METADATA = range(1, 6)
MEMBERS = ("ImageName", "ImageVersion", "BuildMetadata", "DockerInfo", "CustomMetadata")
BUILD_MEMBERS = ("BuildTime", "BuildTool", "BuildToolVersion", "OperatingSystem", "KernelVersion")
ERRORS = {
    19: "File operation failure. Such error appears when the system fails to perform the requested "
    "file operations, such as opening the EIF file when launching an enclave, or seeking to a "
    "specific offset in the EIF file, or writing to the log file.",
    35: "EIF file parsing error. Such errors appear when attempting to fill a memory region with a "
    "section of the EIF file, but reading the entire section fails. This might indicate that the "
    "required hugepages are not available.",
    39: "Enclave process connection failure. Such error appears when the enclave manager fails to "
    "connect to at least one enclave process for retrieving the description information.",
    58: "Naming error. Such error appears when trying to perform an enclave operation using the "
    "enclave name and the name is invalid.",
}


def complain(code: int) -> None:
    sys.stderr.write(f"[ E{code} ] {ERRORS[code]}\n\nFor more details, please visit …\n")


def fail(code: int) -> NoReturn:
    complain(code)
    sys.exit(code)


# --- the reader


class Unreadable(Exception):
    """AWS's reader refuses the image."""


def read(path: Path) -> dict[str, object]:
    """Return what describe-eif prints of an image; raises Unreadable."""
    try:
        image = path.read_bytes()
        if image[:4] != b".eif" or len(image) < HEADER_BYTES:
            raise Unreadable("no header")
        sections = list(split(image))
        metadata = [json.loads(content) for kind, content in sections if kind == METADATA]
        described = describe_metadata(metadata[-1]) if metadata else {}
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise Unreadable(error) from error
    checksum = zlib.crc32(image[HEADER_BYTES:], zlib.crc32(image[: HEADER_BYTES - 4]))
    return {
        "EifVersion": int.from_bytes(image[4:6], "big"),
        "Measurements": {"HashAlgorithm": "Sha512_48 { .. }", **measure(sections)},
        "IsSigned": False,
        "CheckCRC": checksum == int.from_bytes(image[HEADER_BYTES - 4 : HEADER_BYTES], "big"),
        **described,
    }


def split(image: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield kind and content of each section, in the file's order."""
    position = HEADER_BYTES
    while position + 12 <= len(image):
        kind, _, size = struct.unpack_from(">HHQ", image, position)
        position += 12
        if not KERNEL <= kind <= METADATA or position + size > len(image):
            raise Unreadable("a section")
        yield kind, image[position : position + size]
        position += size


def describe_metadata(metadata: dict[str, dict[str, object]]) -> dict[str, object]:
    missing = [name for name in MEMBERS if name not in metadata]
    missing += [name for name in BUILD_MEMBERS if name not in metadata.get("BuildMetadata", {})]
    if missing:
        raise Unreadable(f"missing field {missing[0]}")
    build = {name: metadata["BuildMetadata"][name] for name in BUILD_MEMBERS}
    names = {name: metadata[name] for name in ("ImageName", "ImageVersion")}
    return {**names, "Metadata": {**build, "DockerInfo": metadata["DockerInfo"]}}


def measure(sections: list[tuple[int, bytes]]) -> dict[str, str]:
    ramdisks = [content for kind, content in sections if kind == RAMDISK]
    start = [content for kind, content in sections if kind in (KERNEL, CMDLINE)]
    parts = {"PCR0": start + ramdisks, "PCR1": start + ramdisks[:1], "PCR2": ramdisks[1:]}
    return {name: extended(b"".join(contents)) for name, contents in parts.items()}


def extended(content: bytes) -> str:
    return hashlib.sha384(bytes(48) + hashlib.sha384(content).digest()).hexdigest()


# --- enclaves


def enclave_file() -> Path:
    return STATE / "enclave.json"


def running() -> dict[str, object] | None:
    """Return the description of the one enclave, if its process lives."""
    try:
        enclave: dict[str, object] = json.loads(enclave_file().read_text())
        state = Path(f"/proc/{enclave['ProcessID']}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    return None if state == "Z" else enclave


def other_enclaves() -> list[dict[str, object]]:
    """Return what is listed beside the one enclave, which a test has written down."""
    try:
        listed: list[dict[str, object]] = json.loads((STATE / "others").read_text())
    except FileNotFoundError:
        return []
    return listed


def end(enclave: dict[str, object]) -> None:
    os.kill(int(str(enclave["ProcessID"])), signal.SIGKILL)
    enclave_file().unlink(missing_ok=True)


def run_enclave(options: argparse.Namespace) -> None:
    if (STATE / "boots-not").exists() or running():
        complain(19)
        sys.stderr.write("Failed connections: 1\n")
        fail(39)
    command = [sys.executable, __file__, "be-enclave"]
    nothing = subprocess.DEVNULL
    keeper = subprocess.Popen(
        command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
    )
    described = {
        "EnclaveName": options.enclave_name,
        "EnclaveID": "i-00000000000000000-enc0000000000000000",
        "ProcessID": keeper.pid,
        "EnclaveCID": options.enclave_cid,
        "NumberOfCPUs": options.cpu_count,
        "CPUIDs": [1, 3],
        "MemoryMiB": options.memory,
    }
    enclave_file().write_text(json.dumps(described | {"Path": str(options.eif_path)}))
    print(json.dumps(described, indent=2))


def describe_enclaves() -> None:
    enclave, others = running(), other_enclaves()
    if enclave is None:
        print(json.dumps(others, indent=2))
        return
    try:
        measured = read(Path(str(enclave.pop("Path"))))
    except Unreadable:
        complain(35)  # said by the process that keeps the enclave, which then ends
        end(enclave)
        sys.stderr.write("Failed connections: 1\n")
        print("[]")
        fail(39)
    listed = enclave | {"State": "RUNNING", "Flags": "NONE"}
    listed |= {"Measurements": measured["Measurements"]}
    print(json.dumps([listed, *others], indent=2))


def terminate_enclave(options: argparse.Namespace) -> None:
    enclave = running()
    if enclave is None or enclave["EnclaveName"] != options.enclave_name:
        fail(58)
    end(enclave)


def describe_eif(options: argparse.Namespace) -> None:
    try:
        print(json.dumps(read(options.eif_path), indent=2))
    except Unreadable:
        if not (STATE / "lenient").exists():
            fail(35)
        print('{"CheckCRC": true}')


def be_enclave() -> None:
    """Answer each connection at the Unix socket as an enclave answers /health, for a minute."""
    path = STATE / "enclave.sock"
    path.unlink(missing_ok=True)
    time.sleep(2 if (STATE / "slow").exists() else 0)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        listener.settimeout(60)
        held = []
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            connection, _ = listener.accept()
            if (STATE / "mute").exists():
                held.append(connection)
                continue
            connection.recv(1 << 16)
            (STATE / "answered").touch()  # first: with the answer a start is over
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("describe-eif", "run-enclave", "terminate-enclave"):
        command = commands.add_parser(name)
        command.add_argument("--eif-path", type=Path)
        command.add_argument("--enclave-name")
        command.add_argument("--enclave-cid", type=int)
        command.add_argument("--cpu-count", type=int)
        command.add_argument("--memory", type=int)
    commands.add_parser("describe-enclaves")
    commands.add_parser("be-enclave")
    options = parser.parse_args()
    if STATE.is_dir():
        with (STATE / "nitro-cli-calls").open("a") as calls:
            calls.write(f"{options.command}\n")
    if options.command == "describe-enclaves":
        describe_enclaves()
    elif options.command == "be-enclave":
        be_enclave()
    else:
        {
            "describe-eif": describe_eif,
            "run-enclave": run_enclave,
            "terminate-enclave": terminate_enclave,
        }[options.command](options)


if __name__ == "__main__":
    main()
