"""Inputs kept between runs, each in a file that is named by its hash, in the user's cache."""

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

FOLDER = "oblivious-inference/fuzz"
# Names of members, options and fields, which nobody finds octet by octet; no part of base64.
_WORD = re.compile(rb"(?<![A-Za-z0-9+/=])[A-Za-z][A-Za-z0-9_-]{2,31}:?(?![A-Za-z0-9+/=])")


def cache() -> Path:
    """Return where inputs are kept (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / FOLDER


class Store:
    """The folders of one harness: its corpus, its seeds of this run, and what broke something."""

    def __init__(self, root: Path, name: str) -> None:
        self.corpus, self.seeds = root / name / "corpus", root / name / "seeds"
        self.crashes, self.log = root / name / "crashes", root / name / "log"
        self.words = root / name / "words"
        for folder in (self.corpus, self.seeds, self.crashes):
            folder.mkdir(parents=True, exist_ok=True)

    def renew_seeds(self, seeds: Iterable[bytes]) -> None:
        """Replace the seeds, and the words that they consist of."""
        for path in self.seeds.iterdir():
            path.unlink()
        words: set[bytes] = set()
        for seed in seeds:
            write(self.seeds, seed)
            words.update(_WORD.findall(seed))
        lines = [f'"{word.decode()}"\n' for word in sorted(words)]
        self.words.write_text("# an empty file is an error to libFuzzer\n" + "".join(lines))

    def inputs(self) -> list[bytes]:
        """Return the seeds and the corpus."""
        return [path.read_bytes() for folder in (self.seeds, self.corpus) for path in files(folder)]

    def broken(self) -> list[Path]:
        """Return the files of what broke something."""
        return files(self.crashes)


def files(folder: Path) -> list[Path]:
    """Return the files of a folder in one order."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def write(folder: Path, data: bytes, prefix: str = "") -> Path:
    """Write an input; the same one twice is one file."""
    path = folder / f"{prefix}{hashlib.sha256(data).hexdigest()[:32]}"
    path.write_bytes(data)
    return path
