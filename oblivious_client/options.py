"""The command line: options and their environment variables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from oblivious_client import release_options
from oblivious_client.defaults import MAX_AGE_SECONDS, PACKS
from oblivious_client.failure import UsageError
from oblivious_client.framing import Framing
from oblivious_client.proxies import proxy_address

PROGRAMS = ("codex", "claude-code", "openwebui", "continue", "aider", "opencode", "llm")
"""Whose settings `env` prints."""

SHELLS = ("bash", "zsh", "fish")
"""Which `completions` are for."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise UsageError instead of ending the process."""
        raise UsageError(message, advice="see `oblivious-client --help`")


def parse(arguments: list[str], commands: tuple[str, ...]) -> argparse.Namespace:
    """Return the parsed command line; raises UsageError.

    `help` and `version` are commands of their own.
    """
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if not arguments or arguments[0] == "help" or {"-h", "--help"} & set(options):
        return argparse.Namespace(command="help")
    if arguments[0] == "--version":
        return argparse.Namespace(command="version")
    command, *rest = arguments
    if command not in commands:
        raise UsageError(f"no such command: {command}", advice="see `oblivious-client --help`")
    is_nested = command == "tokens"
    parsed = _parse_tokens(rest) if is_nested else PARSERS[command]().parse_args(rest)
    parsed.command = command
    return parsed


def _parse_tokens(rest: list[str]) -> argparse.Namespace:
    action = rest[0] if rest else ""
    if action not in _TOKEN_PARSERS:
        known = ", ".join(_TOKEN_PARSERS)
        raise UsageError(f"tokens does one of {known}", advice="see `oblivious-client --help`")
    parsed = _TOKEN_PARSERS[action]().parse_args(rest[1:])
    parsed.action = action
    return parsed


def _positive(text: str) -> int:
    value = int(text)
    if not 0 < value < 1 << 31:
        raise ValueError
    return value


def _proxy(text: str) -> str:
    return proxy_address(text)


def _temperature(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 2:  # which NaN is not either
        raise ValueError
    return value


def _issuer_proxy(text: str) -> str:
    return text if text.startswith(("socks5://", "socks5h://")) else _proxy(text)


def _pack(text: str) -> int:
    if (count := int(text)) not in PACKS:
        raise ValueError
    return count


def _framing(text: str) -> Framing:
    return Framing(text)


# argparse names the types in its errors.
_framing.__name__ = "framing (chunked or whole)"
_positive.__name__ = "positive number"
_proxy.__name__ = _issuer_proxy.__name__ = "proxy address"
_pack.__name__ = "pack of tokens (10, 50 or 100)"
_temperature.__name__ = "temperature (0 to 2)"


def _bare_parser() -> _Parser:
    """Return a parser for what asks no gateway."""
    return _Parser(prog="oblivious-client", allow_abbrev=False)


def _parser(relay: str = "store") -> _Parser:
    parser = _bare_parser()
    parser.add_argument("--relay", action=relay)
    parser.add_argument("--gateway")
    parser.add_argument("--proxy", type=_proxy)
    parser.add_argument("--pcrs")
    release_options.add_to(parser)
    parser.add_argument("--max-age", type=_positive, default=MAX_AGE_SECONDS)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--allow-simulated", action="store_true")
    parser.add_argument("--no-cache", action="store_true")
    return parser


def _chat_parser() -> _Parser:
    parser = _parser()
    parser.add_argument("--model")
    parser.add_argument("--system")
    parser.add_argument("--image", type=Path, action="append", default=[])
    parser.add_argument("--temperature", type=_temperature)
    parser.add_argument("--max-tokens", type=_positive)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--framing", type=_framing, default=Framing.CHUNKED)
    _add_paying(parser)
    parser.add_argument("question", nargs="*")
    return parser


def _serve_parser() -> _Parser:
    parser = _parser(relay="append")
    parser.add_argument("--listen")
    parser.add_argument("--api-key", type=Path)
    parser.add_argument("--allow-host", action="append", default=[])
    parser.add_argument("--allow-origin", action="append", default=[])
    parser.add_argument("--log", action="store_true")
    parser.add_argument("action", nargs="?", choices=("install", "status", "stop"))
    parser.add_argument("--top-up")
    _add_paying(parser)
    _add_buying(parser)
    return parser


def _setup_parser() -> _Parser:
    parser = _parser(relay="append")
    parser.add_argument("--model")
    return parser


def _config_parser() -> _Parser:
    parser = _setup_parser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("action", choices=("show",))
    return parser


def _models_parser() -> _Parser:
    parser = _parser()
    parser.add_argument("--json", action="store_true")
    return parser


def _completions_parser() -> _Parser:
    parser = _bare_parser()
    parser.add_argument("shell", choices=SHELLS)
    return parser


def _env_parser() -> _Parser:
    parser = _bare_parser()
    parser.add_argument("--for", dest="program", choices=PROGRAMS, required=True)
    parser.add_argument("--listen")
    parser.add_argument("--model")
    return parser


def _verify_parser() -> _Parser:
    parser = _parser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("--fresh-through-relay", action="store_true")
    parser.add_argument("file", nargs="?", type=Path)
    return parser


def _keys_parser() -> _Parser:
    parser = _parser()
    parser.add_argument("--also", action="append")
    parser.add_argument("--json", action="store_true")
    return parser


def _provision_parser() -> _Parser:
    parser = _parser()
    parser.add_argument("--secrets", type=Path, required=True)
    parser.add_argument("--admin-key", type=Path, required=True)
    return parser


def _add_paying(parser: _Parser) -> None:
    parser.add_argument("--wallet", type=Path)
    parser.add_argument("--max-price")


def _add_buying(parser: _Parser) -> None:
    parser.add_argument("--voucher")
    parser.add_argument("--issuer-proxy", type=_issuer_proxy)


def _buy_parser() -> _Parser:
    parser = _parser()
    parser.add_argument("--wallet", type=Path)
    parser.add_argument("--price")
    parser.add_argument("--count", type=_pack, default=PACKS[1])
    _add_buying(parser)
    return parser


def _wallet_parser() -> _Parser:
    parser = _bare_parser()
    parser.add_argument("--wallet", type=Path)
    return parser


def _list_parser() -> _Parser:
    parser = _wallet_parser()
    parser.add_argument("--json", action="store_true")
    return parser


def _check_parser() -> _Parser:
    parser = _wallet_parser()
    _add_buying(parser)
    return parser


def _export_parser() -> _Parser:
    parser = _wallet_parser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--price", required=True)
    parser.add_argument("--count", type=_positive, required=True)
    parser.add_argument("--origin")
    return parser


def _import_parser() -> _Parser:
    parser = _wallet_parser()
    parser.add_argument("file", type=Path)
    return parser


_TOKEN_PARSERS = {
    "buy": _buy_parser,
    "list": _list_parser,
    "check": _check_parser,
    "export": _export_parser,
    "import": _import_parser,
}


def _releases_parser() -> _Parser:
    parser = _parser()
    release_options.add_actions_to(parser)
    return parser


PARSERS = {
    "setup": _setup_parser,
    "config": _config_parser,
    "chat": _chat_parser,
    "models": _models_parser,
    "serve": _serve_parser,
    "env": _env_parser,
    "verify": _verify_parser,
    "keys": _keys_parser,
    "provision": _provision_parser,
    "releases": _releases_parser,
    "completions": _completions_parser,
}

COMMANDS = (*PARSERS, "tokens")
"""The names of the commands."""
