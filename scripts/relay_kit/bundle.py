"""The relay check as one file, for an operator who has nothing else of this project."""

import importlib.metadata
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from scripts.relay_kit.calls import UsageError

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
BROUGHT = ("h2", "hpack", "hyperframe")  # what --http2 stands on, in Python alone
INTERPRETER = b"#!/usr/bin/env python3\n"
START = b"import sys\n\nfrom scripts.relay_kit.cli import main\n\nsys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that the format knows: equal input, equal file


def own_files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of this package, and of the one that it lies in."""
    for path in (ROOT / "scripts" / "__init__.py", *sorted(PACKAGE.rglob("*.py"))):
        yield str(path.relative_to(ROOT)), path.read_bytes()
    yield "__main__.py", START


def brought_files() -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the packages of others, their licenses included."""
    for name in BROUGHT:
        for path in importlib.metadata.files(name) or ():
            if path.suffix == ".py" or path.name.startswith("LICENSE"):
                yield str(path), path.read_binary()


def write(path: Path) -> None:
    """Write the program to `path`; raise UsageError if that cannot be."""
    if not PACKAGE.is_dir():
        raise UsageError("This is such a file: copy it.")
    try:
        files = [*own_files(), *brought_files()]
        with path.open("wb") as stream:
            stream.write(INTERPRETER)
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in files:
                    archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except importlib.metadata.PackageNotFoundError as error:
        sentence = f"The package {error.name} is missing: run this from a checkout that is set up."
        raise UsageError(sentence) from error
    except OSError as error:
        raise UsageError(f"Cannot write {path}: {error.strerror}.") from error
