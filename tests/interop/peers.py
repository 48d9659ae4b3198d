"""The peers: how their drivers are built, and how they are run as clients and as gateways."""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from protocol.kem import Kem
from scripts.image.kernel import cache
from scripts.local.stack import ROOT, Child, silent

SOURCES = Path(__file__).resolve().parent
BUILT = ROOT / ".cache" / "interop"
SEED = bytes(range(32))
SOURCE_SUFFIXES = (".rs", ".toml", ".lock", ".go", ".mod", ".sum")
BUILD_SECONDS = 900.0  # a cold cache on a busy machine; 90 on an idle one
PATIENCE = {"CARGO_NET_RETRY": "10", "npm_config_fetch_retries": "10"}  # with the registries
ANSWER_SECONDS = 300.0  # nothing is expected to take as long

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Peer:
    """Somebody else's implementation: a name, what it is, what building it needs."""

    name: str
    what: str
    programs: tuple[str, ...]
    build: Callable[[], Command]

    @property
    def missing(self) -> str:
        """The programs that are not on this machine."""
        return ", ".join(name for name in self.programs if shutil.which(name) is None)


def kept(name: str, folder: str, compiler: Sequence[str], make: Callable[[], Path]) -> Command:
    """Return the command of a driver, which all checkouts with its very sources share."""
    program = cache() / f"{name}-{digest(SOURCES / folder, compiler)}"
    if not program.exists():
        built = make()
        program.parent.mkdir(parents=True, exist_ok=True)
        draft = program.with_name(f"{program.name}.{os.getpid()}")
        shutil.copy(built, draft)
        draft.replace(program)
    return (str(program),)


def digest(folder: Path, compiler: Sequence[str]) -> str:
    """Return a digest of what decides the program: its sources, its locks and the compiler."""
    said = subprocess.run(compiler, cwd=folder, capture_output=True, check=True).stdout
    whole = hashlib.sha256(said)
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SOURCE_SUFFIXES):
        whole.update(hashlib.sha256(str(path.relative_to(folder)).encode()).digest())
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def build_rust() -> Command:
    """Return the command of the Rust driver."""

    def compiled() -> Path:
        target = BUILT / "rust"
        options = ["--release", "--locked", "--quiet"]
        build(["cargo", "build", *options], "rust", CARGO_TARGET_DIR=target)
        return target / "release" / "interop-driver"

    return kept("interop-driver", "rust", ["rustc", "-vV"], compiled)


def build_rust_tokens() -> Command:
    """Return the command of the driver on the crate `privacypass`."""
    target = BUILT / "rust_tokens"
    options = ["--release", "--locked", "--quiet"]
    build(["cargo", "build", *options], "rust_tokens", CARGO_TARGET_DIR=target)
    return (str(target / "release" / "tokens-driver"),)


def build_go() -> Command:
    """Return the command of the Go driver."""
    return built_by_go("go", "interop-driver")


def build_go_hpke() -> Command:
    """Return the command of the driver on Go's standard library."""
    return built_by_go("go_hpke", "hpke-driver")


def build_go_blind_rsa() -> Command:
    """Return the command of the driver on CIRCL."""
    return built_by_go("go_blind_rsa", "blind-rsa-driver")


def build_go_notes() -> Command:
    """Return the command of the driver on Go's signed notes."""
    return built_by_go("go_notes", "notes-driver")


def built_by_go(folder: str, name: str) -> Command:
    """Return the command of a driver in Go."""

    def compiled() -> Path:
        program = BUILT / folder / name
        command: list[str | Path] = [
            "go",
            "build",
            "-mod=readonly",
            "-trimpath",
            "-o",
            program,
            ".",
        ]
        build(command, folder, CGO_ENABLED="0")  # a tenth less to compile
        return program

    return kept(f"interop-{folder}", folder, ["go", "version"], compiled)


def build_javascript() -> Command:
    """Return the command of the JavaScript driver."""
    return install_javascript("js")


def build_javascript_tokens() -> Command:
    """Return the command of the driver on privacypass-ts."""
    return install_javascript("js_tokens")


def install_javascript(name: str) -> Command:
    """Return the command of a driver in JavaScript; its packages are installed beside a copy."""
    folder = BUILT / name
    folder.mkdir(parents=True, exist_ok=True)
    changed = copy_changed(SOURCES / name, folder)
    if "package-lock.json" in changed or not (folder / "node_modules").is_dir():
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        build([*command, "--prefix", folder], name)
    return ("node", str(folder / "driver.js"))


def copy_changed(source: Path, target: Path) -> set[str]:
    """Bring the files of one folder up to date; return the names of those that were not."""
    changed = set()
    for path in source.iterdir():
        copy = target / path.name
        if not copy.exists() or copy.read_bytes() != path.read_bytes():
            shutil.copyfile(path, copy)
            changed.add(path.name)
    return changed


def build(command: Sequence[str | Path], folder: str, **environment: str | Path) -> None:
    """Run a build in one of the drivers' folders; raises CalledProcessError."""
    subprocess.run(
        command,
        cwd=SOURCES / folder,
        env=os.environ | PATIENCE | {name: str(value) for name, value in environment.items()},
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=BUILD_SECONDS,
    )


PEERS = (
    Peer("rust", "crates `ohttp` and `bhttp` 0.8.0", ("cargo",), build_rust),
    Peer("go", "`github.com/openpcc/ohttp` v0.0.37", ("go",), build_go),
    Peer(
        "javascript",
        "`@hpke/core` 1.9.0 and `bhttp-js` 0.2.1, joined by framing of our own",
        ("node", "npm"),
        build_javascript,
    ),
)

HPKE_PEER = Peer("go-hpke", "`crypto/hpke` of Go 1.26's standard library", ("go",), build_go_hpke)
"""Has HPKE and no Oblivious HTTP."""

BLIND_RSA_PEER = Peer(
    "go-blind-rsa", "`github.com/cloudflare/circl` v1.6.5", ("go",), build_go_blind_rsa
)
"""Has blind RSA and no tokens."""

NOTE_PEER = Peer(
    "go-notes",
    "`golang.org/x/mod/sumdb/note` v0.43.0 and `github.com/transparency-dev/formats` v0.1.1",
    ("go",),
    build_go_notes,
)
"""Has signed notes, checkpoints and cosignatures, and Merkle trees."""

TOKEN_PEER = Peer(
    "javascript-tokens",
    "`@cloudflare/privacypass-ts` 0.9.0 over `@cloudflare/blindrsa-ts` 0.4.4",
    ("node", "npm"),
    build_javascript_tokens,
)
"""Has tokens, fields and batches; a signature takes it a quarter of a second."""


RUST_TOKEN_PEER = Peer(
    "rust-tokens",
    "crate `privacypass` 0.2.0-pre.4 over `blind-rsa-signatures` 0.18.0",
    ("cargo",),
    build_rust_tokens,
)
"""Has tokens, fields in one form, batches, and a memory of what is spent; builds for minutes."""


class DriverClient:
    """A driver as client: one case in, one answer out."""

    def __init__(self, command: Command) -> None:
        self.process = subprocess.Popen(
            [*command, "client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, case: Mapping[str, object]) -> dict[str, Any]:
        """Return what came of one case: `status` and more, or `outer`, or `error`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        deadline = threading.Timer(ANSWER_SECONDS, self.process.kill)
        deadline.start()
        try:
            self.process.stdin.write(json.dumps(case) + "\n")
            self.process.stdin.flush()
            answer: dict[str, Any] = json.loads(self.process.stdout.readline() or "{}")
        finally:
            deadline.cancel()
        assert answer, "the driver ended or took too long"
        return answer


@contextlib.contextmanager
def driver_gateway(peer: Peer, command: Command, kem: Kem) -> Iterator[str]:
    """Run a driver as a gateway that echoes, with a key of one mechanism; give its URL."""
    options = ["--listen", "127.0.0.1:0", "--key", SEED.hex(), "--kem", kem.name]
    child = Child(
        f"{peer.name} gateway",
        [shutil.which(command[0]) or command[0], *command[1:], "gateway", *options],
        {},
    )
    try:
        child.wait_ready(silent)
        address: str = json.loads(child.lines[0])["listen"]
        yield address.replace("tcp://", "http://") + "/"
    finally:
        child.stop()
    assert child.process.returncode == 0, child.complaint("did not end in order")
