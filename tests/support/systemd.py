"""A systemd of our own: a user manager in a mount namespace, with the units that it is given."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.host_proxy_process import DEADLINE, until

SYSTEMD = Path("/usr/lib/systemd/systemd")
STANDARD_UNITS = Path("/usr/lib/systemd/user")  # what every service depends on, and the orderly end
# systemd runs where /run says that the system's manager is one; this machine's /run stays as it is.
_START = 'mount -t tmpfs none /run && mkdir -p /run/systemd/system && exec "$0" "$@"'
_COMMAND = [str(SYSTEMD), "--user", "--unit=test.target", "--show-status=no"]


def why_not() -> str:
    """Return why no manager can be started here; an empty text if one can."""
    if not SYSTEMD.exists() or shutil.which("unshare") is None:
        return "systemd is not installed"
    if os.geteuid() != 0:
        return "only root may start a systemd apart from the system's"
    return ""


class Manager:
    """Starts and looks at units as `systemctl` does."""

    def __init__(self, runtime: Path, units: Path) -> None:
        self._runtime = runtime
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(runtime),
            "SYSTEMD_UNIT_PATH": f"{units}:{STANDARD_UNITS}",
            "SYSTEMD_LOG_TARGET": "console",
            "SYSTEMD_LOG_LEVEL": "warning",
        }

    def systemctl(self, *words: str, code: int = 0) -> str:
        """Run systemctl; return what it printed."""
        done = subprocess.run(
            ["systemctl", "--user", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--property", name, "--value", unit)

    def ready(self) -> bool:
        """Whether the manager can be told anything."""
        return (self._runtime / "systemd" / "private").exists()


@contextlib.contextmanager
def manager(units: Path) -> Iterator[Manager]:
    """Run a manager for the units in a directory, and end it with all that it started."""
    (units / "test.target").write_text("[Unit]\nDescription=Nothing at first\n")
    for unit in units.iterdir():
        unit.chmod(0o644)  # whatever the umask: systemd warns of units that others may write
    with tempfile.TemporaryDirectory() as runtime, (units.parent / "systemd.log").open("wb") as log:
        found = Manager(Path(runtime), units)
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _START, *_COMMAND],
            env=found.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            until(found.ready)
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(DEADLINE)
            process.kill()
            process.wait()
