"""The build of the kernel: edits that must fit, a configuration that must hold, pinned tools."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from scripts.image import kernel, kernel_build
from scripts.image.kernel_build import Edit, KernelError
from scripts.image.locks import read_lock

EDIT = Edit("net/file.c", "old", "new")


def source(root: Path, text: str) -> Path:
    (root / "net").mkdir()
    (root / "net/file.c").write_text(text)
    return root / "net/file.c"


def test_an_edit_that_fits_once_is_made(tmp_path: Path) -> None:
    file = source(tmp_path, "an old line")
    kernel_build.edit(tmp_path, [EDIT])
    assert file.read_text() == "an new line"


@pytest.mark.parametrize("text", ["nothing of the kind", "old and old"])
def test_an_edit_that_does_not_fit_just_once_ends_the_build(tmp_path: Path, text: str) -> None:
    file = source(tmp_path, text)
    with pytest.raises(KernelError, match=r"net/file\.c: 'old' stands there [02] times, not once"):
        kernel_build.edit(tmp_path, [EDIT])
    assert file.read_text() == text


def test_an_option_that_did_not_come_out_as_asked_ends_the_build() -> None:
    wanted = "# said\nCONFIG_NSM=y\nCONFIG_DEVMEM=n\nCONFIG_NR_CPUS=128\n"
    kernel_build.check_configuration(wanted, "CONFIG_NSM=y\nCONFIG_NR_CPUS=128\nCONFIG_X=y\n")
    for got in ("CONFIG_NR_CPUS=128", "CONFIG_NSM=m\nCONFIG_NR_CPUS=128"):
        with pytest.raises(KernelError, match="CONFIG_NSM as asked"):
            kernel_build.check_configuration(wanted, got)
    with pytest.raises(KernelError, match="CONFIG_DEVMEM"):
        kernel_build.check_configuration(wanted, wanted.replace("DEVMEM=n", "DEVMEM=y"))


def test_what_a_nitro_hypervisor_needs_is_asked_for_and_modules_are_not() -> None:
    asked = dict(re.findall(r"^(CONFIG_\w+)=(.*)$", kernel.CONFIGURATION.read_text(), re.MULTILINE))
    for name in ("VIRTIO_MMIO_CMDLINE_DEVICES", "VIRTIO_VSOCKETS", "NSM", "X86_MPPARSE"):
        assert asked[f"CONFIG_{name}"] == "y"
    assert "m" not in asked.values()


def test_no_kernel_is_built_where_make_would_stumble(tmp_path: Path) -> None:
    for name in ("a space", "a:colon"):
        with pytest.raises(KernelError, match="spaces or colons"):
            kernel_build.build({}, kernel.CONFIGURATION, tmp_path / name, 1, print)


def test_a_wrapper_runs_a_tool_with_its_own_libraries(tmp_path: Path) -> None:
    tools, wrapper = tmp_path / "tools", tmp_path / "bc"
    loader = tools / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    loader.parent.mkdir(parents=True)
    kernel_build._write_program(loader, '#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program = tools / "usr/bin/bc"
    with pytest.raises(KernelError, match="brings no bc"):
        kernel_build._wrap(tools, wrapper, program)
    program.parent.mkdir()
    program.touch()
    kernel_build._wrap(tools, wrapper, program, ["--option"])
    done = subprocess.run([wrapper, "a b"], capture_output=True, text=True, check=True)
    libraries = str(loader.parent)
    words = ["--library-path", libraries, "--argv0", str(program), str(program), "--option", "a b"]
    assert done.stdout.splitlines() == words


def test_nothing_of_the_callers_environment_reaches_the_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CFLAGS", "KCFLAGS", "MAKEFLAGS", "GCC_EXEC_PREFIX", "SOURCE_DATE_EPOCH"):
        monkeypatch.setenv(name, "something")
    environment = kernel_build._environment(tmp_path / "tools", tmp_path / "wrappers")
    assert "something" not in environment.values()
    assert environment["PATH"].startswith(f"{tmp_path / 'wrappers'}:")


def test_the_lock_brings_every_tool_that_is_wrapped() -> None:
    names = {package.name for package in read_lock(kernel.LOCK).packages}
    tools = {"gcc-14-x86-64-linux-gnu", "cpp-14-x86-64-linux-gnu", "binutils-x86-64-linux-gnu"}
    assert {kernel_build.SOURCE_PACKAGE, "make", *tools, *kernel_build._TOOLS} <= names


def test_what_ends_a_build_ends_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        if (tmp_path / "pid").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(kernel_build, "SAY_SECONDS", 0.05)
    script = f"sleep 600 & echo $! >{tmp_path}/draft; mv {tmp_path}/draft {tmp_path}/pid; wait"
    with pytest.raises(KeyboardInterrupt):
        kernel_build._run(["sh", "-c", script], {"PATH": os.defpath}, interrupt)
    stat = Path("/proc") / (tmp_path / "pid").read_text().strip() / "stat"
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)  # a process that was killed takes a moment to go


def test_a_build_that_fails_says_what_make_said() -> None:
    with pytest.raises(KernelError, match="failed:\\nno rule"):
        kernel_build._run(["sh", "-c", "echo no rule; exit 3"], {"PATH": os.defpath}, print)
