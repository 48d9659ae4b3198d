"""The command line read: commands, their options, and the route that they name."""

from pathlib import Path

import pytest

from oblivious_client import options, settings
from oblivious_client.client import DEFAULT_MODEL
from oblivious_client.commands import COMMANDS
from oblivious_client.errors import UsageError
from oblivious_client.policy import Policy, Simulated
from oblivious_client.route import Route
from oblivious_client.sealing import Framing
from tests.support.releases import WITNESSES

RELAY = "https://relay.example"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RELAY", "GATEWAY", "PCRS", "MODEL", "TRUST"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def route(*arguments: str) -> Route:
    return settings.route(options.parse(list(arguments), tuple(COMMANDS)))


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "help"),
        (["help"], "help"),
        (["-h"], "help"),
        (["chat", "--help"], "help"),
        (["chat", "--", "--help"], "chat"),
        (["chat", "help"], "chat"),
        (["--version"], "version"),
        (["keys"], "keys"),
    ],
)
def test_commands(arguments: list[str], command: str) -> None:
    assert options.parse(arguments, tuple(COMMANDS)).command == command


def test_a_route_by_options() -> None:
    found = route("keys", "--relay", RELAY, "--proxy", "http://p.example:1", "--max-age", "60")
    assert found.endpoint == Route(RELAY).endpoint
    assert (found.policy, found.proxy) == (Policy(max_age=60), "http://p.example:1")
    assert found.cache is not None
    assert route("keys", "--gateway", RELAY, "--no-cache").cache is None
    assert route("keys", "--relay", RELAY, "--allow-simulated").policy == Policy(
        simulated=Simulated.ALLOWED
    )


def test_the_environment_names_what_the_command_line_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OBLIVIOUS_RELAY", RELAY)
    monkeypatch.setenv("OBLIVIOUS_GATEWAY", "https://gateway.example")
    assert route("keys").endpoint == Route(RELAY).endpoint
    assert route("keys", "--gateway", "unix:/g").endpoint == Route(gateway="unix:/g").endpoint
    monkeypatch.delenv("OBLIVIOUS_RELAY")
    assert route("keys").endpoint == Route(gateway="https://gateway.example").endpoint


def test_models(monkeypatch: pytest.MonkeyPatch) -> None:
    given = options.parse(["chat", "--model", "m", "Hi"], tuple(COMMANDS))
    bare = options.parse(["chat", "--framing", "whole", "Hi"], tuple(COMMANDS))
    assert (settings.model(given), settings.model(bare)) == ("m", DEFAULT_MODEL)
    assert bare.framing is Framing.WHOLE
    monkeypatch.setenv("OBLIVIOUS_MODEL", "other")
    assert (settings.model(given), settings.model(bare)) == ("m", "other")


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such"],
        ["keys", "--version"],
        ["keys", "--rel", "r"],
        ["keys", "--max-age", "0"],
        ["keys", "--max-age", "x"],
        ["keys", "--mirrors", "0"],
        ["keys", "--proxy", "ftp://p"],
        ["keys", "--proxy", "http://p:x"],
        ["chat", "--framing", "half"],
        ["chat", "--temperature", "2.1"],
        ["chat", "--temperature", "nan"],
        ["chat", "--temperature", "-0.1"],
        ["config"],
        ["config", "edit"],
        ["completions", "tcsh"],
        ["provision"],
        ["provision", "--secrets", "s"],
        ["provision", "--admin-key", "k"],
        ["env"],
        ["env", "--for", "llm", "--mod", "m"],
        ["serve", "more"],
        ["serve", "--issuer-proxy", "ftp://p"],
        ["tokens"],
        ["tokens", "sell"],
        ["tokens", "--wallet", "w"],
        ["tokens", "buy", "--count", "20"],
        ["tokens", "buy", "more"],
        ["tokens", "list", "--relay", "r"],
        ["tokens", "list", "--wal", "w"],
        ["tokens", "export", "file", "--count", "1"],
        ["tokens", "export", "file", "--price", "c1"],
        ["tokens", "export", "--price", "c1", "--count", "1"],
        ["tokens", "import"],
        ["releases"],
        ["releases", "frob"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        options.parse(arguments, tuple(COMMANDS))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["keys", "--max-age", "x"], "invalid positive number value: 'x'"),
        (["keys", "--proxy", "ftp://p"], "invalid proxy address value: 'ftp://p'"),
        (["tokens", "check", "--issuer-proxy", "p"], "invalid proxy address value: 'p'"),
        (["tokens", "buy", "--count", "20"], "invalid pack of tokens (10, 50 or 100) value: '20'"),
        (["chat", "--framing", "half"], "invalid framing (chunked or whole) value: 'half'"),
        (["chat", "--temperature", "3"], "invalid temperature (0 to 2) value: '3'"),
    ],
)
def test_what_a_wrong_value_should_have_been_is_said(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        options.parse(arguments, tuple(COMMANDS))
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize("text", ["0", "2"])
def test_a_temperature_may_be_at_its_ends(text: str) -> None:
    chat = ["chat", "--temperature", text]
    assert options.parse(chat, tuple(COMMANDS)).temperature == float(text)


VKEY = WITNESSES[0].key.encode()
PLACES = ["--relay", "r", "--gateway", "g", "--proxy", "http://p", "--pcrs", "f", "--root", "c"]
LISTED = ["--trust", "t", "--releases", "l", "--mirror", VKEY, "--mirrors", "1"]
LISTED += ["--mirror-of", "g", "--mirror-down", "warn"]
SHARED = [*PLACES, *LISTED, "--max-age", "5", "--allow-simulated", "--no-cache"]
READ: dict[str, object] = {
    "relay": "r",
    "gateway": "g",
    "proxy": "http://p",
    "pcrs": "f",
    "root": Path("c"),
    "trust": "t",
    "releases": Path("l"),
    "mirror": [WITNESSES[0].key],
    "mirrors": 1,
    "mirror_of": "g",
    "mirror_down": "warn",
    "max_age": 5,
    "allow_simulated": True,
    "no_cache": True,
}
LEFT_OUT: dict[str, object] = {
    **dict.fromkeys(("relay", "gateway", "proxy", "pcrs", "root", "trust", "releases")),
    **dict.fromkeys(("mirror", "mirrors", "mirror_of")),
    "mirror_down": None,
    "max_age": 3600,
    "allow_simulated": False,
    "no_cache": False,
}
OWN: dict[str, tuple[list[str], dict[str, object], dict[str, object]]] = {
    "chat": (
        [
            *("--model", "m", "--system", "s", "--max-tokens", "7"),
            *("--image", "i", "--image", "j", "--temperature", "0.5"),
            *("--save", "a", "--framing", "whole", "--wallet", "w", "--max-price", "c4"),
            *("Hi", "you"),
        ],
        {
            "model": "m",
            "system": "s",
            "max_tokens": 7,
            "image": [Path("i"), Path("j")],
            "temperature": 0.5,
            "save": Path("a"),
            "framing": Framing.WHOLE,
            "wallet": Path("w"),
            "max_price": "c4",
            "question": ["Hi", "you"],
        },
        {
            **dict.fromkeys(("model", "system", "max_tokens", "save", "wallet", "max_price")),
            "framing": Framing.CHUNKED,
            "image": [],
            "temperature": None,
            "question": [],
        },
    ),
    "serve": (
        [
            *("--listen", "127.0.0.1:1", "--relay", "s", "--api-key", "k", "--log"),
            *("--allow-host", "h", "--allow-host", "i", "--allow-origin", "o", "--top-up", "c1=40"),
            *("--wallet", "w", "--max-price", "c4", "--voucher", "v"),
            *("--issuer-proxy", "socks5://p:1", "status"),
        ],
        {
            "listen": "127.0.0.1:1",
            "relay": ["r", "s"],
            "api_key": Path("k"),
            "allow_host": ["h", "i"],
            "allow_origin": ["o"],
            "log": True,
            "action": "status",
            "top_up": "c1=40",
            "wallet": Path("w"),
            "max_price": "c4",
            "voucher": "v",
            "issuer_proxy": "socks5://p:1",
        },
        {
            **dict.fromkeys(("listen", "api_key", "action", "top_up", "wallet")),
            **dict.fromkeys(("max_price", "voucher", "issuer_proxy")),
            **{"allow_host": [], "allow_origin": [], "log": False},
        },
    ),
    "verify": (
        ["--json", "--fresh", "--fresh-through-relay", "file"],
        {"json": True, "fresh": True, "fresh_through_relay": True, "file": Path("file")},
        {"json": False, "fresh": False, "fresh_through_relay": False, "file": None},
    ),
    "keys": (
        ["--json", "--also", "u", "--also", "v"],
        {"json": True, "also": ["u", "v"]},
        {"json": False, "also": None},
    ),
    "models": (["--json"], {"json": True}, {"json": False}),
    "setup": (
        ["--relay", "s", "--model", "m"],
        {"relay": ["r", "s"], "model": "m"},
        {"model": None},
    ),
    "config": (
        ["--model", "m", "--relay", "s", "--json", "show"],
        {"relay": ["r", "s"], "model": "m", "json": True, "action": "show"},
        {"model": None, "json": False, "action": "show"},
    ),
    "provision": (
        ["--secrets", "s", "--admin-key", "k"],
        {"secrets": Path("s"), "admin_key": Path("k")},
        {"secrets": Path("s"), "admin_key": Path("k")},
    ),
    "releases": (
        [
            *("pin", "1.0", "--json", "--forget", "--witness", "--name", "n", "--out", "o"),
            *("--build", "b", "--key", "k", "--measurements", "m"),
        ],
        {
            **{"action": "pin", "words": ["1.0"], "json": True, "forget": True, "witness": True},
            **{"name": "n", "out": Path("o"), "build": Path("b"), "key": Path("k")},
            "measurements": Path("m"),
        },
        {
            **{"action": "list", "words": [], "json": False, "forget": False, "witness": False},
            **dict.fromkeys(("name", "out", "build", "key", "measurements")),
        },
    ),
}

# What a command cannot do without.
REQUIRED = {
    "config": ["show"],
    "provision": ["--secrets", "s", "--admin-key", "k"],
    "releases": ["list"],
}


@pytest.mark.parametrize("command", OWN)
def test_each_option_of_a_command_is_read_and_has_its_default(command: str) -> None:
    given, read, left_out = OWN[command]
    found = vars(options.parse([command, *SHARED, *given], tuple(COMMANDS)))
    assert found == {"command": command, **READ, **read}
    bare = REQUIRED.get(command, [])
    found = vars(options.parse([command, *bare], tuple(COMMANDS)))
    assert found == {"command": command, **LEFT_OUT, **left_out}


@pytest.mark.parametrize(
    ("text", "good"), [("1", True), (str(2**31 - 1), True), (str(2**31), False)]
)
def test_a_number_has_ends(text: str, good: bool) -> None:
    arguments = ["keys", "--max-age", text]
    if good:
        assert options.parse(arguments, tuple(COMMANDS)).max_age == int(text)
        return
    with pytest.raises(UsageError):
        options.parse(arguments, tuple(COMMANDS))


OF_TOKENS: dict[str, tuple[list[str], dict[str, object], dict[str, object]]] = {
    "buy": (
        [*SHARED, *("--price", "c4", "--count", "100", "--voucher", "-", "--wallet", "w")],
        {**READ, "price": "c4", "count": 100, "voucher": "-", "wallet": Path("w")},
        {**LEFT_OUT, "price": None, "count": 50, "voucher": None, "wallet": None},
    ),
    "list": (["--json"], {"json": True, "wallet": None}, {"json": False, "wallet": None}),
    "check": (
        ["--voucher", "v", "--issuer-proxy", "http://p", "--wallet", "w"],
        {"voucher": "v", "issuer_proxy": "http://p", "wallet": Path("w")},
        {"voucher": None, "issuer_proxy": None, "wallet": None},
    ),
    "export": (
        ["f", "--price", "c1", "--count", "7", "--origin", "o"],
        {"file": Path("f"), "price": "c1", "count": 7, "origin": "o", "wallet": None},
        {},
    ),
    "import": (["f"], {"file": Path("f"), "wallet": None}, {}),
}


@pytest.mark.parametrize("action", OF_TOKENS)
def test_each_option_of_what_tokens_do_is_read_and_has_its_default(action: str) -> None:
    given, read, left_out = OF_TOKENS[action]
    proxy = {"issuer_proxy": None} if action == "buy" else {}
    found = vars(options.parse(["tokens", action, *given], tuple(COMMANDS)))
    assert found == {"command": "tokens", "action": action, **proxy, **read}
    if left_out:
        found = vars(options.parse(["tokens", action], tuple(COMMANDS)))
        assert found == {"command": "tokens", "action": action, **proxy, **left_out}


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (["completions", "fish"], {"shell": "fish"}),
        (["env", "--for", "llm"], {"program": "llm", "listen": None, "model": None}),
        (
            ["env", "--for", "codex", "--listen", "127.0.0.1:1", "--model", "m"],
            {"program": "codex", "listen": "127.0.0.1:1", "model": "m"},
        ),
    ],
)
def test_each_option_of_what_asks_nobody_is_read(
    arguments: list[str], read: dict[str, object]
) -> None:
    found = vars(options.parse(arguments, tuple(COMMANDS)))
    assert found == {"command": arguments[0], **read}
