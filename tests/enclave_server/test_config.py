"""Tests of the configuration file."""

import base64
from pathlib import Path

import pytest

from enclave_server.config import (
    EMBEDDED_MODEL,
    Config,
    ConfigError,
    KeysTable,
    load_config,
    parse_config,
)

# Its model's table, to which more can be added.
FULL = "[upstreams.a]\naddress = 'unix:/a'\n[[models]]\nname = 'b'\nupstream = 'a'\n"
PROVIDER = """
[[models]]
name = "large"
upstream = "provider"
upstream_name = "large-2026-10"

[upstreams.provider]
address = "vsock://3:8001"
host_name = "api.example.com"
key_env = "PROVIDER_KEY"
"""


def test_no_file_serves_the_embedded_model() -> None:
    config = load_config(None)
    assert config == Config()
    assert [model.name for model in config.models] == [EMBEDDED_MODEL]
    assert config.uses_engine
    assert config.keys.lifetime_seconds == 24 * 3600


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    assert load_config(str(path)) == Config()


def test_a_provider_replaces_the_embedded_model() -> None:
    config = parse_config(PROVIDER)
    assert not config.uses_engine
    assert config.models[0].upstream_name == "large-2026-10"
    assert config.upstreams["provider"].host_name == "api.example.com"


def test_every_table_can_be_set() -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    config = parse_config(
        "[server]\nlisten='unix:/run/s'\nworkers=4\ngrace_seconds=1\n"
        "[limits]\nconnections=7\n"
        "[keys]\nlifetime_seconds=60\nannounce_seconds=6\ngrace_seconds=2.5\n"
        "[replay]\nwindow_seconds=30\ncapacity=64\nrequire_date=false\n"
        "[evidence]\nrefresh_seconds=9\nnonce_per_second=0.5\n"
        "[stream]\npadding='off'\n"
        "[chat]\nbare_json=true\nsystem_prompt='Be brief.'\nsignature_version=1\n"
        f"[provision]\nadministrator_key='{key}'\n"
    )
    assert config.server.workers == 4
    assert config.limits.connections == 7
    assert config.keys.grace_seconds == 2.5
    assert config.replay.capacity == 64
    assert config.evidence.nonce_per_second == 0.5
    assert config.stream.padding == "off"
    assert config.chat.bare_json
    assert config.chat.signature_version == 1
    assert config.provision.administrator_key == key


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x = 1", "`x`"),
        ("[sever]", "`sever`"),
        ("[server]\nworker = 2", "`worker`"),
        ("[limits]\nhead_byte = 2", "`head_byte`"),
        ("[server]\nworkers = 'two'", "workers"),
        ("[server]\nworkers = 0", "workers"),
        ("[server]\nlisten = 'localhost:80'", "not an address"),
        ("[server]\ngrace_seconds = -1", "grace_seconds"),
        ("[limits]\nhead_bytes = 0", "head_bytes"),
        ("limits = 3", "limits"),
        ("[keys]\nannounce_seconds = 0", "announce_seconds"),
        ("[keys]\nlifetime_seconds = 60", "announce_seconds"),
        ("[keys]\ngrace_seconds = 1e9", "grace_seconds"),
        ("[keys]\nlifetime_seconds = inf", "lifetime_seconds must be finite"),
        ("[keys]\nlifetime_seconds = 1e308\ngrace_seconds = 1e308", "must be finite"),
        ("[replay]\nwindow_seconds = 0", "window_seconds"),
        ("[replay]\ncapacity = 0", "capacity"),
        ("[evidence]\nrefresh_seconds = 0", "refresh_seconds"),
        ("[evidence]\nnonce_per_second = -1", "nonce_per_second"),
        ("[stream]\npadding = 'maybe'", "padding"),
        ("[engine]\nmodel_file = '/m'", "sha256"),
        ("[engine]\nthreads = 0", "threads"),
        ("[engine]\nmemory_mib = 100", "memory_mib"),
        ("[[models]]\nname = 'a'\nupstream = 'embedded'\nlimits = {stops = 1}", "no limit stops"),
        ("[[models]]\nname = 'a'\nupstream = 'embedded'\nlimits = {tools = -1}", "limit tools"),
        ("[[models]]\nname = 'a'\nupstream = 'embedded'\nlimits = {tools = 1.5}", "limits"),
        ("[[models]]\nname = 'a'", "upstream"),
        ("[[models]]\nname = 'a'\nupstream = 'b'", "'a'"),
        ("[upstreams.embedded]\naddress = 'unix:/a'", "embedded"),
        ("[upstreams.a]\naddress = 'a'", "not an address"),
        ("[upstreams.a]\naddress = 'unix:/a'\nkey_env = 'K'\nkey_file = 'f'", "key_file"),
        ("[upstreams.a]\naddress = 'unix:/a'\nconnect_seconds = 0", "times"),
        ("[upstreams.a]\naddress = 'unix:/a'\nfirst_byte_seconds = nan", "times"),
        ("[upstreams.a]\naddress = 'unix:/a'\nidle_seconds = 0", "times"),
        (FULL + "context_length = 0", "counts of tokens"),
        (FULL + "output_limit = -1", "counts of tokens"),
        (FULL + "sampling = ['top_j']", "top_j"),
        (FULL + "temperature = 'three'", "three"),
        (FULL + "efforts = ['utmost']", "utmost"),
        ("[[models]]\nname = 'a'\nupstream = 'embedded'\ntools = true", "embedded"),
        ("[upstreams.a]\naddress = 'tcp://a:1'\nhost_name = \"a\\r\\nb\"", "host_name"),
        ("[upstreams.a]\naddress = 'tcp://a:1'\nhost_name = 'a:443'", "host_name"),
        ("[upstreams.a]\naddress = 'tcp://a:1'\npath_prefix = '/v1 x'", "path_prefix"),
        ("[upstreams.a]\naddress = 'tcp://a:1'\npath_prefix = '/v1/'", "path_prefix"),
        ("[provision]\nadministrator_key = '!'", "base64"),
        ("[provision]\nadministrator_key = 'AAAA'", "32 bytes"),
        (f"[provision]\nadministrator_key = '{'A' * 43}='", "anybody can sign"),
        (
            "[provision]\nadministrator_key = '!O2onvM62pC1imrTyIx/I1lS0t3jZpdlD5rrm4Na9zRg='",
            "base64",
        ),
        ("[server", "table declaration"),
        ("x = " + "[" * 900, "nest too deeply"),
        ("x = " + "9" * 5000, "digits"),
        (PROVIDER + "[[models]]\nname = 'large'\nupstream = 'embedded'", "same name"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parse_config(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"):
        load_config(str(tmp_path / "absent"))


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text("x = 1")
    with pytest.raises(ConfigError, match=r"wrong\.toml"):
        load_config(str(path))


@pytest.mark.parametrize(
    "table",
    [
        'listen = "nowhere"',
        'peers = ["nowhere"]',
        "peers = [" + '"vsock://3:1",' * 17 + "]",
        *(f"same = {[each for each in range(4) if each != missing]}" for missing in range(4)),
        "same = [0, 1, 2, 3, 32]",
        "route_seconds = -1",
        "route_seconds = 31",
        "join_seconds = 0",
        "join_seconds = inf",
        "unknown = 1",
    ],
)
def test_a_cluster_that_cannot_be_is_refused(table: str) -> None:
    with pytest.raises(ConfigError):
        parse_config(f"[cluster]\nenabled = true\n{table}\n")


def test_what_is_measured_of_an_enclave_is_the_same_in_all_of_a_cluster() -> None:
    assert parse_config("[cluster]\nenabled = true").cluster.same == (0, 1, 2, 3)


def test_a_cluster_has_shorter_keys_and_nobody_else() -> None:
    assert parse_config("").keys == KeysTable()
    assert parse_config("[cluster]\nenabled = false").keys == KeysTable()
    assert parse_config("[cluster]\nenabled = true").keys.lifetime_seconds == 3600
    assert parse_config("[cluster]\nsame = [0, 1, 2, 3, 8]").cluster.same[-1] == 8
