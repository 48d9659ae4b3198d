"""Counts the rooms of each package, the arrows of imports between them, and the floors they make.

A room is a module or a package that stands directly in the package; an arrow leads from each that
imports another, however often; the floors are what the longest chain of arrows needs. Given a
commit, its tree is counted instead of this one: `scripts/house COMMIT`.
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "protocol",
    "enclave_server",
    "host_proxy",
    "oblivious_client",
    "token_issuer",
    "scripts",
)

Arrows = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Package:
    """One package: its rooms by their full names, and the arrows between them."""

    name: str
    rooms: frozenset[str]
    arrows: Arrows

    @property
    def floors(self) -> int:
        """How many floors its rooms need; 0 if imports go round in a circle, which have none."""
        standing, floors = set(self.rooms), 0
        while standing:
            held = {low for high, low in self.arrows if high in standing and low in standing}
            if held == standing:
                return 0
            standing, floors = held, floors + 1
        return floors


def counted(graph: grimp.ImportGraph, name: str) -> Iterator[Package]:
    """Yield the package `name`, then those in it, as they stand in `graph`."""
    rooms = frozenset(graph.find_children(name))
    if not rooms:
        return
    room_of = {inner: room for room in rooms for inner in {room, *graph.find_descendants(room)}}
    arrows = {
        (room, room_of[imported])
        for inner, room in room_of.items()
        for imported in graph.find_modules_directly_imported_by(inner)
        if imported in room_of and room_of[imported] != room
    }
    yield Package(name, rooms, frozenset(arrows))
    for room in sorted(rooms):
        yield from counted(graph, room)


def table(folder: Path) -> str:
    """Return the counts of all packages in the checkout at `folder`, which Python must find."""
    there = [name for name in PACKAGES if (folder / name / "__init__.py").exists()]
    graph = grimp.build_graph(*there, cache_dir=None)
    lines = [f"{'package':40}  rooms  arrows  floors"]
    for name in there:
        for package in counted(graph, name):
            floors = str(package.floors or "circle")
            numbers = f"{len(package.rooms):5}  {len(package.arrows):6}  {floors:>6}"
            lines.append(f"{package.name:40}  {numbers}")
    return "\n".join(lines)


def of_commit(commit: str) -> int:
    """Print the counts of another commit's tree, which may lack packages; return the exit code."""
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        print(f"error: {archive.stderr.decode().strip()}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="oblivious-house-") as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tree:
            tree.extractall(folder, filter="data")
        # A process of its own, whose Python finds that tree's packages and not ours.
        command = [sys.executable, "-P", __file__, "--tree", folder]
        environment = os.environ | {"PYTHONPATH": folder}
        return subprocess.run(command, env=environment, check=False).returncode


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="scripts/house", description=__doc__)
    parser.add_argument("commit", nargs="?", help="count this commit's tree instead")
    parser.add_argument("--tree", type=Path, default=ROOT, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.commit:
        return of_commit(options.commit)
    print(table(options.tree))
    return 0


if __name__ == "__main__":
    sys.exit(main())
