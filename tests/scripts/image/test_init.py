"""The enclave's first process: what it lets the hypervisor add to the measured command line."""

import subprocess

import pytest

from scripts.image.kernel import CMDLINE
from scripts.image.recipe import GUEST

# The functions of `init`, with a machine in which `cat` and `reboot` are harmless.
FUNCTIONS = "/^stop() {/,/^}/p; /^is_appendix() {/,/^}/p; /^check_cmdline() {/,/^}/p"
TRY = """
set -f
eval "$(sed -n "$1" "$2")"
cat() { case "$1" in /cmdline) echo "$measured" ;; *) echo "$booted" ;; esac; }
reboot() { exit 7; }
measured=$3 booted=$4
check_cmdline
"""


def check(booted: str) -> subprocess.CompletedProcess[str]:
    command = ["sh", "-c", TRY, "try", FUNCTIONS, str(GUEST / "init"), CMDLINE, booted]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "appended",
    [
        "",
        " virtio_mmio.device=4K@0xd0000000:5",
        " virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6:1",
        " virtio_mmio.device=512@0xfeb00e00:12 tsc_early_khz=2000000 tsc=reliable",
    ],
)
def test_devices_and_the_clock_may_be_added(appended: str) -> None:
    done = check(CMDLINE + appended)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "word",
    [
        "init=/bin/sh",
        "rdinit=/bin/sh",
        "panic=0",
        "--",
        "*",
        "tsc=unstable",
        "tsc_early_khz=",
        "virtio_mmio.device=4K@0xd0000000:5,init=/bin/sh",
        "xvirtio_mmio.device=4K@0xd0000000:5",
        '"virtio_mmio.device=4K@0xd0000000:5"',
    ],
)
def test_anything_else_ends_the_boot(word: str) -> None:
    done = check(f"{CMDLINE} virtio_mmio.device=4K@0xd0000000:5 {word}")
    assert done.returncode == 7
    assert done.stdout.startswith(f"INIT stops: nothing may add {word} ")


@pytest.mark.parametrize("booted", ["", CMDLINE[:-1], CMDLINE + "er", f"init=/bin/sh {CMDLINE}"])
def test_another_command_line_ends_the_boot(booted: str) -> None:
    done = check(booted)
    assert done.returncode == 7
    assert done.stdout.startswith("INIT stops: the kernel's command line is not the image's")
