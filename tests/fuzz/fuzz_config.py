"""The server's configuration: any text is a configuration, or a sentence about what is wrong."""

import msgspec

from enclave_server import config
from enclave_server.addresses import parse_address
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import Config, ConfigError
from enclave_server.processes.catalogue import build_models
from tests.enclave_server.test_config import PROVIDER
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import Attempt, Refused

MAX_BYTES = 8192
attempt = Attempt(ConfigError)
attempt_models = Attempt(ValueError)

FAULTS = (
    slips("enclave_server.config.parse_config", ConfigError),
    replaced("enclave_server.config._refuse_unknown_limits", lambda tables: tables["limits"]),
    returns("enclave_server.addresses.VsockAddress.__str__", lambda text: text + "x"),
)


def seeds() -> list[bytes]:
    """Return configurations of every table, and ill-formed ones."""
    texts = [
        "",
        PROVIDER,
        "[server]\nlisten='unix:/run/s'\nworkers=4\n[limits]\nconnections=7\n[keys]\n"
        "lifetime_seconds=60\nannounce_seconds=6\ngrace_seconds=2.5\n[replay]\ncapacity=64\n",
        "[stream]\ntick_milliseconds=inf\nseries_ratio=nan\n[evidence]\nnonce_per_second=-1\n",
        "[[models]]\nname='a'\nupstream='embedded'\nlimits={choices=2,text_bytes=9}\n",
        "[provision]\nadministrator_key='" + "A" * 43 + "='\n[chat]\nsignature_version=2\n",
        "[server]\nworkers=" + "9" * 30,
        "[server]\ngrace_seconds=1e400",
        "a=1979-05-27T07:32:00Z\nb=[[[[]]]]",
        "limits=3",
        "upstreams.u.address='tcp://[::1]:80'\nupstreams.u.path_prefix='/a%'",
        "x=" + "[" * 600,
        "x=" + "9" * 4400,
    ]
    return [text.encode() for text in texts]


def run(data: bytes) -> None:
    """Read a configuration, write it, and make models of it."""
    text = data.decode(errors="replace")
    found = attempt(config.parse_config, text)
    if isinstance(found, Refused):
        return
    assert msgspec.convert(msgspec.to_builtins(found), Config) == found
    models = attempt_models(build_models, found, "/run/engine.sock", ProvisionedKeys())
    if not isinstance(models, Refused):
        assert [model.name for model in models.models] == [each.name for each in found.models]
        for upstream in models.upstreams():
            assert upstream.authority.isprintable()
            assert parse_address(str(upstream.address)) == upstream.address
