"""The whole path where questions cost something: an issuer and a Redis beside the rest."""

import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from scripts.local.stack import (
    PROGRAMS,
    Child,
    Interpose,
    Report,
    Stack,
    StackError,
    direct,
    silent,
)

ISSUER, ORIGIN = "issuer.example", "gateway.example"
MODEL = "smollm2-135m-instruct"
VOUCHER_UNITS = 1000
COMMAND_SECONDS = 120.0

BUDGETS: Mapping[str, tuple[int, int]] = {
    "c1": (2048, 128),
    "c4": (8192, 512),
    "c16": (16384, 2048),
    "c64": (32768, 4096),
}
"""Octets that may be read and tokens that may be written, of the one model that there is."""


class PaidStack(Stack):
    """Enclave server, host proxy and relay, with an issuer and Redis; each is started first."""

    def __init__(
        self, report: Report = silent, interpose: Interpose = direct, relay_port: int = 0
    ) -> None:
        super().__init__(report, interpose, relay_port=relay_port)
        self.server_options = ("--config", self.folder / "enclave.toml")
        self.issuer = ""
        self.redis = f"unix:{self.folder / 'redis.sock'}"
        self._issuer_config = self.folder / "issuer.toml"

    def start(self) -> None:
        """Start all parts, each when the one before it is ready."""
        self.start_redis()
        self.start_issuer()
        self._write_config(self.issuer_command("keys", "list", "--gateway"))
        super().start()

    def start_redis(self) -> Child:
        """Start Redis on a socket alone; its file is written with each second, as in production."""
        program = shutil.which("redis-server")
        if program is None:
            raise StackError("redis-server is not on this machine: apt-get install redis-server.")
        path = self.folder / "redis.sock"
        options = ["--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"]
        kept = ["--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "everysec"]
        return self.launch("Redis", [program, *options, *kept], lambda: _takes(path))

    def start_issuer(self) -> Child:
        """Start an issuer with fresh keys, on a free port of this machine."""
        port = _free_port()
        self.issuer = f"http://127.0.0.1:{port}"
        self._issuer_config.write_text(
            f'database = "sqlite:///{self.folder / "ledger.sqlite3"}"\n'
            f'keys = "{self.folder / "issuing-keys"}"\n'
            f'listen = "127.0.0.1:{port}"\nworkers = 1\n'
        )
        self.issuer_command("keys", "new", "--epochs", "2")
        return self.run_issuer()

    def run_issuer(self) -> Child:
        """Run the issuer that has been set up; again, if it was killed."""
        directory = f"{self.issuer}/.well-known/private-token-issuer-directory"
        command = [str(PROGRAMS / "token-issuer"), "--config", str(self._issuer_config), "serve"]
        return self.launch("token issuer", command, lambda: _answers(directory))

    def voucher(self, units: int = VOUCHER_UNITS) -> str:
        """Return the secret of a new voucher."""
        return self.issuer_command("vouchers", "new", "--units", str(units)).strip()

    def issuer_command(self, *arguments: str) -> str:
        """Return what a command of the issuer prints; raises StackError."""
        command = [PROGRAMS / "token-issuer", "--config", self._issuer_config, *arguments]
        name = " ".join(arguments)
        try:
            done = subprocess.run(
                list(map(str, command)),
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            late = f"was not done in {COMMAND_SECONDS:.0f} s: try again when less else runs here."
            raise StackError(f"The issuer's command {name} {late}") from None
        if done.returncode != 0:
            raise StackError(f"{done.stderr}The issuer's command {name} failed.")
        return done.stdout

    def _write_config(self, keys: str) -> None:
        """Write the enclave's configuration, which in an image would be measured."""
        Path(self.folder / "enclave.toml").write_text(configuration(self.issuer, self.redis, keys))


def configuration(issuer: str, store: str, keys: str) -> str:
    """Return that of a server whose embedded model is paid for.

    `issuer` is its URL, `keys` the lines that it prints, `store` the address of a Redis.
    """
    return (
        f'[tokens]\nrequired = true\nissuer = "{ISSUER}"\nissuer_url = "{issuer}"\n'
        f'origin = "{ORIGIN}"\nstore = "redis"\nstore_address = "{store}"\n{keys}\n'
        f'[[models]]\nname = "{MODEL}"\nupstream = "embedded"\n{_budgets()}'
    )


def _budgets() -> str:
    return "".join(
        f"budgets.{price} = {{ input_octets = {octets}, output_tokens = {tokens} }}\n"
        for price, (octets, tokens) in BUDGETS.items()
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _takes(path: Path) -> bool:
    """Whether a Redis answers at a socket."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1.0)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(64) == b"+PONG\r\n"
    return False


def _answers(url: str) -> bool:
    """Whether a server of this machine answers a request."""
    try:
        with urllib.request.urlopen(url, timeout=1.0) as answer:  # noqa: S310 - an address of ours
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
