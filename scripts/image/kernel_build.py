"""The enclave's kernel, built from Debian's source by Debian's own compiler, all pinned by hash.

The compiler and its helpers are unpacked, not installed: wrappers run each with the loader and
the libraries that were unpacked with it, so that nothing of this machine's compilers, if it has
any, decides a byte. Shell, sed, awk, grep, find, cmp, tar and coreutils are this machine's.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scripts.image.locks import PackageError
from scripts.image.packages import unpack

SOURCE_PACKAGE = "linux-source-6.12"
_TRIPLET = "x86_64-linux-gnu"
_LIBRARIES = f"usr/lib/{_TRIPLET}"
_BINUTILS = ("as", "ld", "ar", "nm", "objcopy", "objdump", "readelf", "strip")
_COMPILER = ("cc1", "collect2")
_TOOLS = ("flex", "bison", "m4", "bc", "gzip")
_PKG_CONFIG = '#!/bin/sh\ncase "$*" in *--libs*) echo "-lelf" ;; esac\n'
BUILD_SECONDS = 7200
SAY_SECONDS = 60.0  # how often a build that goes on says so
# In the kernel's banner, as the compiler's name is.
_IDENTITY = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Nov 20 08:00:00 UTC 2025",
    "KBUILD_BUILD_USER": "enclave",
    "KBUILD_BUILD_HOST": "enclave",
    "KBUILD_BUILD_VERSION": "1",
    "LC_ALL": "C",
    "TZ": "UTC",
}

Say = Callable[[str], None]


class KernelError(Exception):
    """The kernel cannot be built; the text says why."""


class Edit(NamedTuple):
    """A change to the source: `old` stands there exactly once."""

    file: str
    old: str
    new: str


_COMMON = "net/vmw_vsock/virtio_transport_common.c"
_TRANSPORT = "net/vmw_vsock/virtio_transport.c"
EDITS = (
    # A packet must lie in one piece beside its header: other ends are known that take no more
    # than two descriptors. 28 KiB with header and overhead fit a linear buffer of 32 KiB.
    Edit(
        _COMMON,
        "u32 max_skb_len = VIRTIO_VSOCK_MAX_PKT_BUF_SIZE;",
        "u32 max_skb_len = 28 * 1024;",
    ),
    Edit(
        _COMMON,
        "max_skb_len = min_t(u32, VIRTIO_VSOCK_MAX_PKT_BUF_SIZE,",
        "max_skb_len = min_t(u32, 28 * 1024,",
    ),
    # The parent is a guest too: two guests that each stop receiving until the other has taken
    # their replies would wait for ever. Credit bounds what can pile up.
    Edit(_TRANSPORT, "!virtio_transport_more_replies(vsock)", "false"),
    Edit(
        _TRANSPORT,
        "static bool virtio_transport_more_replies(",
        "static bool __maybe_unused virtio_transport_more_replies(",
    ),
)


def build(files: Mapping[str, Path], configuration: Path, place: Path, jobs: int, say: Say) -> Path:
    """Return the bzImage made in the empty directory `place` from packages by name."""
    if re.search(r"[\s:]", str(place)):
        raise KernelError(f"no kernel can be built in {place}: its path has spaces or colons")
    tools, wrappers, output = place / "tools", place / "wrappers", place / "output"
    for directory in (tools, wrappers, output):
        directory.mkdir(parents=True)
    for name, file in sorted(files.items()):
        if name != SOURCE_PACKAGE:
            unpack(file, tools)
    source = _unpack_source(files, place)
    edit(source, EDITS)
    _wrap_tools(tools, wrappers)
    make = _make_command(source, output, wrappers)
    environment = _environment(tools, wrappers)

    def report() -> None:
        say(f"still building: {sum(1 for _ in output.rglob('*.o'))} files are compiled")

    whole = environment | {"KCONFIG_ALLCONFIG": str(configuration)}
    _run([*make, "allnoconfig"], whole, report)
    check_configuration(configuration.read_text(), (output / ".config").read_text())
    _run([*make, f"-j{jobs}", "bzImage"], environment, report)
    return output / "arch/x86/boot/bzImage"


def edit(source: Path, edits: Sequence[Edit]) -> None:
    """Change the unpacked source, or raise KernelError where an edit does not fit just once."""
    for change in edits:
        path = source / change.file
        text = path.read_text()
        if (count := text.count(change.old)) != 1:
            raise KernelError(f"{change.file}: {change.old!r} stands there {count} times, not once")
        path.write_text(text.replace(change.old, change.new))


def check_configuration(wanted: str, got: str) -> None:
    """Raise KernelError unless every option came out as it was asked for."""
    asked, made = _options(wanted), _options(got)
    differ = [name for name, value in asked.items() if made.get(name, "n") != value]
    if differ:
        raise KernelError(f"the kernel's configuration cannot have {', '.join(differ)} as asked")


def _options(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))


def _unpack_source(files: Mapping[str, Path], place: Path) -> Path:
    package = place / "package"
    package.mkdir()
    unpack(files[SOURCE_PACKAGE], package)
    archive = package / f"usr/src/{SOURCE_PACKAGE}.tar.xz"
    command = ["tar", "-x", "--no-same-owner", "-C", str(place)]
    with (
        lzma.open(archive) as content,  # here, because not every machine has xz
        subprocess.Popen(command, stdin=subprocess.PIPE) as tar,
    ):
        if tar.stdin is not None:
            shutil.copyfileobj(content, tar.stdin, 1 << 20)
            tar.stdin.close()
    if tar.returncode:
        raise PackageError(f"{archive.name} cannot be unpacked")
    shutil.rmtree(package)
    return place / SOURCE_PACKAGE


def _wrap_tools(tools: Path, wrappers: Path) -> None:
    binaries = tools / "usr/bin"
    libraries = tools / _LIBRARIES
    for name in _BINUTILS:
        _wrap(tools, wrappers / name, binaries / f"{_TRIPLET}-{name}")
    for name in _COMPILER:
        _wrap(tools, wrappers / name, tools / f"usr/libexec/gcc/{_TRIPLET}/14/{name}")
    for name in _TOOLS:
        _wrap(tools, wrappers / name, binaries / name)
    _wrap(tools, wrappers / "make", binaries / "make", argv0=wrappers / "make")  # it calls itself
    gcc = binaries / f"{_TRIPLET}-gcc-14"
    own = [f"-B{wrappers}/", f"--sysroot={tools}"]
    _wrap(tools, wrappers / "gcc", gcc, own)
    # what is built to run during the build runs with these libraries too
    linked = [f"-Wl,--dynamic-linker={libraries / 'ld-linux-x86-64.so.2'}"]
    _wrap(tools, wrappers / "hostcc", gcc, [*own, *linked, f"-Wl,-rpath,{libraries}"])
    _write_program(wrappers / "pkg-config", _PKG_CONFIG)


def _wrap(
    tools: Path,
    wrapper: Path,
    program: Path,
    options: Sequence[str] = (),
    argv0: Path | None = None,
) -> None:
    if not program.exists():
        raise KernelError(f"the kernel's lock brings no {program.name}")
    libraries = tools / _LIBRARIES
    loader = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]
    words = [*loader, "--argv0", str(argv0 or program), str(program), *options]
    _write_program(wrapper, f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _make_command(source: Path, output: Path, wrappers: Path) -> list[str]:
    programs = {name.upper(): name for name in _BINUTILS if name != "as"}
    programs |= {"CC": "gcc", "HOSTCC": "hostcc", "HOSTLD": "ld", "HOSTAR": "ar"}
    programs |= {"HOSTPKG_CONFIG": "pkg-config", "LEX": "flex", "YACC": "bison"}
    chosen = [f"{variable}={wrappers / name}" for variable, name in programs.items()]
    where = ["-C", str(source), f"O={output}", "ARCH=x86_64", "LIBELF_LIBS=-lelf"]
    return [str(wrappers / "make"), "--silent", *where, *chosen]


def _environment(tools: Path, wrappers: Path) -> dict[str, str]:
    """Return a whole environment: flags of the caller's would show in the kernel."""
    own = {"PATH": f"{wrappers}:/usr/bin:/bin", "HOME": "/nonexistent"}
    parser = {"M4": str(wrappers / "m4"), "BISON_PKGDATADIR": str(tools / "usr/share/bison")}
    return own | parser | _IDENTITY


def _run(
    command: Sequence[str], environment: Mapping[str, str], report: Callable[[], None]
) -> None:
    """Run `command`; whatever ends this ends also what it has started."""
    with subprocess.Popen(
        ["nice", *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        umask=0o022,
        start_new_session=True,
    ) as make:
        end = time.monotonic() + BUILD_SECONDS
        try:
            while (said := _communicate(make)) is None:
                if time.monotonic() > end:
                    raise KernelError(f"the kernel was not built after {BUILD_SECONDS} s")
                report()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(make.pid, signal.SIGKILL)
    if make.returncode:
        raise KernelError(f"make {command[-1]} failed:\n{said.strip()[-2000:]}")


def _communicate(process: subprocess.Popen[str]) -> str | None:
    """Return what `process` wrote, or None if it still runs after a while."""
    try:
        return process.communicate(timeout=SAY_SECONDS)[0]
    except subprocess.TimeoutExpired:
        return None
