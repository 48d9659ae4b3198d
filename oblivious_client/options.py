"""The command line: options, their environment variables, and the text of `--help`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from oblivious_client.defaults import DEFAULT_MODEL, MAX_AGE_SECONDS
from oblivious_client.exits import table
from oblivious_client.failure import UsageError
from oblivious_client.framing import Framing
from oblivious_client.proxies import proxy_address

PROGRAMS = ("codex", "claude-code", "openwebui", "continue", "aider", "opencode", "llm")
"""Whose settings `env` prints."""

SHELLS = ("bash", "zsh", "fish")
"""Which `completions` are for."""

HELP = f"""\
oblivious-client - ask a language model without saying who you are

usage:
  oblivious-client setup  [options]                  decide once where to ask: verify, write it down
  oblivious-client config show [options]             tell which setting comes from where
  oblivious-client chat   [options] [QUESTION ...]   ask; without a question talk, or read stdin
  oblivious-client models [options]                  list the models that can be asked
  oblivious-client serve  [options] [install | status | stop]
                                                     be an OpenAI endpoint for this machine
  oblivious-client env    --for PROGRAM              print the settings of a program for that
  oblivious-client verify [options] [FILE]           check an enclave, or a saved answer offline
  oblivious-client keys   [options]                  show the keys that questions are sealed to
  oblivious-client provision [options]               hand API keys to an enclave, for its operator
  oblivious-client completions bash|zsh|fish         print the completions for a shell
  oblivious-client --version                         show which release this is

Options go before variables of the environment, those before config.toml, which `setup` writes.

where to ask (one of them):
  --relay URL          a relay: it sees your address, never a word  [OBLIVIOUS_RELAY]
  --gateway URL        the gateway itself, for trials: it sees your address  [OBLIVIOUS_GATEWAY]
                       URL is https://..., http://... or unix:PATH
  --proxy URL          go through an HTTP proxy, http://[NAME:WORD@]HOST:PORT; other variables
                       of the environment are not used  [OBLIVIOUS_PROXY]

TLS trusts the authorities that come with the package certifi. Where your network or relay has
authorities of its own, name a PEM file with all that count in SSL_CERT_FILE, or a folder of them
in SSL_CERT_DIR. No authority can vouch for an enclave: that is what the next options are about.

what to demand of the enclave before anything is sent:
  --pcrs FILE          the measurements that `nitro-cli build-enclave` printed, or a JSON list
                       of several such objects: any one of them will do  [OBLIVIOUS_PCRS]
  --max-age SECONDS    the oldest attestation document to accept (default {MAX_AGE_SECONDS})
  --root FILE          trust this root certificate, not AWS's: for emulated enclaves
  --allow-simulated    accept a simulated enclave, which proves nothing; for trials
  --no-cache           fetch the evidence even if what was verified before still holds

chat:
  --model NAME         the model (default {DEFAULT_MODEL})  [OBLIVIOUS_MODEL]
                       (setup, config: too)
  --system TEXT        a system prompt
  --image FILE ...     a picture beside the question: PNG, JPEG, WebP or GIF
  --temperature N      from 0, always the likeliest word, to 2
  --max-tokens N       the longest answer, in tokens
  --save FILE          keep question, answer and evidence; `verify FILE` checks them offline
                       What comes on standard input beside a QUESTION is joined to it. On a
                       terminal without a QUESTION several turns: /help lists what they know;
                       nothing that is typed is written to any file.
  --framing whole      for gateways without chunked answers; streams nothing

serve [install | status | stop]:
                       install has it run now and at each login, with the options given here
  --listen HOST:PORT   where (default port 11435 of 127.0.0.1 and [::1]); then set
                       OPENAI_BASE_URL=http://127.0.0.1:11435/v1
  --relay URL ...      more than once: the next is tried when one does not answer
  --allow-origin ORIGIN ...
                       a site whose pages may ask, exactly, such as http://localhost:3000
  --api-key FILE       every request has to carry the key in FILE; wants one anybody who listens
                       elsewhere than on this machine, such as for containers
  --allow-host NAME ...
                       a name by which containers call this endpoint
  --log                a line a request: when, what, how large, how long; never content

env --for PROGRAM:     print the settings of codex, claude-code, openwebui, continue, aider,
                       opencode or llm, to ask through `serve`
  --listen HOST:PORT   where that listens; --model NAME, what to ask there

setup:
  --relay URL ...      more than once: `serve` tries them in turns, all others ask the first

verify, keys, models, config:
  --json               print JSON
  --fresh              (with --gateway) have a document made for this very request
  --fresh-through-relay
                       (verify, with --relay) have the relay fetch its copy anew, so that a
                       gateway that does not answer is seen

provision (once after each start of an enclave; --pcrs is required):
  --secrets FILE       TOML: [keys] with NAME = "API KEY" for each upstream that wants one, and
                       where needed [settings.NAME] with organization = "..." or project = "..."
                       (OpenAI), or access_key_id = "...", session_token = "..." and region = "..."
                       (Amazon, where the API key is the secret access key)
  --admin-key FILE     PEM: the Ed25519 private key of the administrator whom the enclave's
                       measured configuration names

The answer goes to standard output, everything else to standard error.

exit codes:
{table()}
"""


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
    parsed = PARSERS[command]().parse_args(rest)
    parsed.command = command
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


def _framing(text: str) -> Framing:
    return Framing(text)


# argparse names the types in its errors.
_framing.__name__ = "framing (chunked or whole)"
_positive.__name__ = "positive number"
_temperature.__name__ = "temperature (0 to 2)"
_proxy.__name__ = "proxy address"


def _parser(relay: str = "store") -> _Parser:
    parser = _Parser(prog="oblivious-client", add_help=False, allow_abbrev=False)
    parser.add_argument("--relay", action=relay)
    parser.add_argument("--gateway")
    parser.add_argument("--proxy", type=_proxy)
    parser.add_argument("--pcrs")
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
    parser = _Parser(prog="oblivious-client", add_help=False, allow_abbrev=False)
    parser.add_argument("shell", choices=SHELLS)
    return parser


def _env_parser() -> _Parser:
    parser = _Parser(prog="oblivious-client", add_help=False, allow_abbrev=False)
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
    parser.add_argument("--json", action="store_true")
    return parser


def _provision_parser() -> _Parser:
    parser = _parser()
    parser.add_argument("--secrets", type=Path, required=True)
    parser.add_argument("--admin-key", type=Path, required=True)
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
    "completions": _completions_parser,
}
