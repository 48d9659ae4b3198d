"""What the documents name is there: files, headings, commands and options, tests, metrics."""

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from enclave_server.config import parse_config
from host_proxy import figures
from host_proxy.addresses import AddressError
from host_proxy.counters import RouteCounters, prometheus_text
from host_proxy.exposition import text
from host_proxy.options import from_command_line
from host_proxy.watch import Tally, families
from oblivious_client import help_text, options
from oblivious_client.commands import COMMANDS
from oblivious_client.errors import UsageError
from oblivious_client.exits import Exit
from token_issuer.cli import parser as issuer_parser

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "scripts/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
PLACES = (
    "protocol",
    "enclave_server",
    "host_proxy",
    "oblivious_client",
    "token_issuer",
    "scripts",
    "tests",
)
FILES = [
    path.relative_to(ROOT).as_posix()
    for place in (*PLACES, "docs")
    for path in (ROOT / place).rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
]
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
MODULE = re.compile(r"-m (scripts(?:\.\w+)+)")  # what a command runs
# Where one command of a line ends and the next begins.
SEPARATORS = {"|", "||", "&&", ";", "&"}
PREFIXES = {"sudo", "exec"}
PROGRAMS = ("oblivious-client", "host-proxy", "enclave-server", "token-issuer")


def text_of(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def prose(document: str) -> str:
    """Return a document without its fenced blocks."""
    return FENCE.sub("", text_of(document))


def commands(document: str) -> Iterator[list[str]]:
    """Yield the words of each command in a document's shell blocks, and in its running text."""
    for _, language, block in FENCE.findall(text_of(document)):
        if language in ("sh", "bash", "shell", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                yield from split(line.removeprefix("$ "))
    for span in CODE.findall(prose(document)):
        yield from split(span)


def split(line: str) -> Iterator[list[str]]:
    """Yield the simple commands of a line of shell; nothing for what is not shell."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        lexer.commenters = "#"
        words = list(lexer)
    except ValueError:
        return
    command: list[str] = []
    for word in [*words, ";"]:
        if word in SEPARATORS:
            if command:
                yield command
            command = []
        elif command or (word not in PREFIXES and not re.match(r"\w+=", word)):
            command.append(word)


def is_complete(words: list[str]) -> bool:
    """Whether a command is meant to be typed, not a name with a word or two behind it."""
    return not {"…", "...", "[options]"} & set(words)


def without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif set(word) <= set("<>&") or re.fullmatch(r"\d?[<>]+", word):
            skip = True
        else:
            kept.append(word)
    return kept


def heading_anchors(document: str) -> set[str]:
    """Return the anchors that a forge makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        assert found.exists(), f"{document}: {target}"
        if anchor:
            assert anchor in heading_anchors(found.relative_to(ROOT).as_posix()), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_are_named_exist(document: str) -> None:
    for span in CODE.findall(prose(document)):
        path = span.removeprefix("./").partition("::")[0].rstrip("/")
        if path.split("/")[0] in PLACES and re.fullmatch(r"[\w./*-]+", path):
            assert list(ROOT.glob(path)), f"{document}: {span}"
        elif re.fullmatch(r"[\w/]+\.py", path):
            assert any(f"/{name}".endswith(f"/{path}") for name in FILES), f"{document}: {span}"


@functools.cache
def defined(path: str) -> frozenset[str]:
    """Return the names of all functions and classes in a file."""
    return frozenset(
        node.name
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )


@pytest.mark.parametrize("document", DOCUMENTS)
def test_tests_that_are_named_exist(document: str) -> None:
    for file, name in re.findall(r"\b(test_\w+\.py)::(\w+)", text_of(document)):
        sources = [path for path in FILES if path.endswith(f"/{file}")]
        assert sources, f"{document}: {file}"
        assert any(name in defined(path) for path in sources), f"{document}: {file}::{name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_commands_of_ours_take_what_they_are_given(document: str) -> None:
    for words in commands(document):
        words = without_redirections(words)
        program = words[0].removeprefix("./") if words else ""
        if Path(program).name in PROGRAMS:
            check_program(Path(program).name, words[1:])
        elif program.startswith("scripts/"):
            check_script(program, words[1:])


def check_program(program: str, words: list[str]) -> None:
    if program == "oblivious-client":
        check_client(words)
    elif program == "host-proxy":
        check_proxy(words)
    elif program == "token-issuer":
        check_issuer(words)
    else:
        check_options(program, words, (ROOT / "enclave_server/cli.py").read_text())


def check_client(words: list[str]) -> None:
    if not words or words[0].startswith("-"):
        assert set(words) <= {"--help"}
        return
    assert words[0] in {*COMMANDS, "help"}, words
    if not is_complete(words) or (len(words) == 2 and words[1].startswith("--")):
        check_options("oblivious-client", words, help_text.HELP)
        return
    try:
        options.parse(words, tuple(COMMANDS))
    except UsageError as error:
        pytest.fail(f"oblivious-client {shlex.join(words)}: {error}")


def check_issuer(words: list[str]) -> None:
    source = "".join(path.read_text() for path in (ROOT / "token_issuer").glob("*.py"))
    check_options("token-issuer", words, source)
    if is_complete(words) and len(words) > 1:
        try:
            issuer_parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"token-issuer {shlex.join(words)}")


def check_proxy(words: list[str]) -> None:
    source = (ROOT / "host_proxy/options.py").read_text()
    numbers = {f"--{name.replace('_', '-')}" for name in re.findall(r'"(\w+)": "', source)}
    check_options("host-proxy", words, source + " ".join(sorted(numbers)))
    if is_complete(words) and len(words) > 1 and "--config" not in words:
        try:
            from_command_line(words)
        except AddressError as error:
            pytest.fail(f"host-proxy {shlex.join(words)}: {error}")


def check_script(program: str, words: list[str]) -> None:
    path = ROOT / program
    if not path.is_file():  # a file or a folder that is only named
        assert path.exists() or list(ROOT.glob(program)), program
        return
    text = path.read_text(encoding="utf-8")
    modules = [ROOT / f"{name.replace('.', '/')}.py" for name in MODULE.findall(text)]
    known = text + "".join(module.read_text(encoding="utf-8") for module in modules)
    check_options(program, words, known)


def check_options(program: str, words: list[str], known: str) -> None:
    """Every long option among `words` has to stand in `known`, the program's text or help."""
    options_known = {*re.findall(r"--[a-z][a-z-]*", known), "--help"}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options_known, f"{program} has no {word}"


def test_commands_are_found() -> None:
    """Nothing above would notice if no command were found any more."""
    found = [words[0] for document in DOCUMENTS for words in commands(document)]
    for program in ("oblivious-client", "host-proxy", "scripts/build-eif", "./scripts/demo"):
        assert program in found


def test_wrong_commands_are_noticed() -> None:
    for words in (
        ["oblivious-client", "verify", "--pcr", "x"],
        ["oblivious-client", "sing"],
        ["host-proxy", "--egress", "vsock://3:8001"],
        ["enclave-server", "--port", "1"],
        ["token-issuer", "keys", "burn"],
        ["token-issuer", "vouchers", "new", "--euros", "5"],
    ):
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            check_program(words[0], words[1:])
    with pytest.raises(AssertionError):
        check_script("scripts/build-eif", ["--output", "x"])


def test_metrics_that_are_named_exist() -> None:
    told = [*families(Tally()), *figures.families(figures.Figures())]
    served = (prometheus_text([RouteCounters("any")]) + text(told)).decode()
    for document in DOCUMENTS:
        for span in CODE.findall(prose(document)):
            if named := re.fullmatch(r"(host_proxy_\w+)(?:\{(.*)\})?", span):
                assert named[1] in served, f"{document}: {span}"
                assert (named[2] or "") in served, f"{document}: {span}"


def test_exit_codes_that_are_named_exist() -> None:
    codes = {int(code) for code in Exit} | set(range(7))  # the server's own are 0 to 6
    for document in DOCUMENTS:
        for numbers in re.findall(r"exit codes? ([\d, or]+)", text_of(document)):
            assert {int(number) for number in re.findall(r"\d+", numbers)} <= codes


def test_configurations_in_the_documents_are_taken() -> None:
    blocks = [
        block
        for document in DOCUMENTS
        for _, language, block in FENCE.findall(text_of(document))
        if language == "toml" and ("[server]" in block or "[[models]]" in block)
    ]
    assert blocks
    for block in blocks:
        parse_config(block)


def test_every_room_is_named_in_the_architecture() -> None:
    rooms = {path.rpartition("/")[0] for path in FILES if path.endswith(".py")}
    rooms = {room for room in rooms if not room.startswith("tests/")} | {"tests"}
    named = text_of("ARCHITECTURE.md")
    inside = ("/guest", "eif-reader")  # what the rooms around them carry
    for room in sorted(rooms):
        assert f"`{room}/`" in named or room.endswith(inside), room
