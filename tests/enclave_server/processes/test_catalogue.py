"""What a configuration offers, as the chat service wants it."""

from dataclasses import replace
from pathlib import Path

import pytest

from enclave_server.addresses import TcpAddress, UnixAddress
from enclave_server.chat.bounds import PROVIDER
from enclave_server.chat.embedded import EMBEDDED
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.profiles import PROFILES
from enclave_server.chat.upstream.credentials import EnvironmentKey, FileKey, ProvisionedKeys
from enclave_server.config import parse_config
from enclave_server.processes.catalogue import build_models, engine_share
from protocol.provisioning import Secrets

ADMINISTRATOR = "sddpLIvytHBnhdrc6IMmo56hbfXSzPJ0lUSkT5ko/1I="


def build(text: str, provisioned: ProvisionedKeys | None = None) -> ModelTable:
    return build_models(parse_config(text), "engine.sock", provisioned or ProvisionedKeys())


def provider(*settings: str) -> str:
    lines = [
        '[[models]]\nname = "m"\nupstream = "u"',
        '[upstreams.u]\naddress = "tcp://127.0.0.1:1"',
        *settings,
    ]
    return "\n".join(lines)


def test_the_embedded_model_is_offered_unless_others_are() -> None:
    (model,) = build("").models
    assert model.upstream.address == UnixAddress("engine.sock")


def test_a_model_is_asked_by_its_own_name_unless_it_has_another_there() -> None:
    assert build(provider()).models[0].upstream_name == "m"
    named = provider().replace('name = "m"', 'name = "m"\nupstream_name = "there"')
    assert build(named).models[0].upstream_name == "there"


def test_settings_of_an_upstream_arrive() -> None:
    settings = (
        'host_name = "h.example.com"',
        'path_prefix = "/beta"',
        'dialect = "openai-chat"',
        "connect_seconds = 1",
        "first_byte_seconds = 2",
        "idle_seconds = 4",
        "total_seconds = 3",
    )
    (upstream,) = build(provider(*settings)).upstreams()
    assert upstream.address == TcpAddress("127.0.0.1", 1)
    assert (upstream.host_name, upstream.path_prefix) == ("h.example.com", "/beta")
    assert upstream.dialect == "openai-chat"
    times = upstream.connect_seconds, upstream.first_byte_seconds, upstream.total_seconds
    assert (*times, upstream.idle_seconds) == (1, 2, 3, 4)


def test_keys_are_sought_where_they_are_said_to_be() -> None:
    for setting, source in {
        "": None,
        'key_env = "K"': EnvironmentKey("K"),
        'key_file = "/k"': FileKey("/k"),
    }.items():
        (upstream,) = build(provider(setting)).upstreams()
        assert upstream.key == source
        assert upstream.account() == {}


def test_keys_that_are_handed_over_are_found_afterwards() -> None:
    provisioned = ProvisionedKeys()
    text = provider("key_provisioned = true", f'[provision]\nadministrator_key = "{ADMINISTRATOR}"')
    (upstream,) = build(text, provisioned).upstreams()
    assert upstream.key is not None
    assert upstream.key() is None
    provisioned.put_all(Secrets({"u": "k"}, {"u": {"project": "p"}}))
    assert (upstream.key(), upstream.account()) == ("k", {"project": "p"})


def test_what_would_fail_when_asked_is_named_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'u': there is no dialect 'x', only "):
        build(provider('dialect = "x"'))
    absent = tmp_path / "absent.pem"
    with pytest.raises(ValueError, match="'u': no certificates in"):
        build(provider(f'ca_file = "{absent}"', 'host_name = "h.example.com"'))


def test_a_profile_is_that_of_the_host_unless_one_is_named() -> None:
    for settings, name in (
        ((), "plain"),
        (('host_name = "api.x.ai"',), "xai"),
        (('host_name = "api.x.ai"', 'profile = "vllm"'), "vllm"),
    ):
        (model,) = build(provider(*settings)).models
        assert model.profile == model.upstream.profile == PROFILES[name]
    with pytest.raises(ValueError, match="'u': there is no profile 'x'"):
        build(provider('profile = "x"'))


def described(*settings: str, profile: str = "openai") -> Model:
    (model,) = build(
        provider(f'profile = "{profile}"').replace(
            'name = "m"', "\n".join(['name = "m"', *settings])
        )
    ).models
    return model


def test_what_a_model_can_is_what_its_table_says() -> None:
    able = described()
    abilities = ("tools", "images", "files", "reasoning", "structured_output")
    assert all(getattr(able, name) for name in abilities)
    assert (able.context_length, able.output_limit, able.sampling) == (None, None, frozenset())
    unable = described(*(f"{name} = false" for name in abilities), "context_length = 8")
    assert not any(getattr(unable, name) for name in abilities)
    assert unable.context_length == 8


def test_a_model_may_differ_from_its_upstream_s_profile() -> None:
    model = described('temperature = "none"', 'efforts = ["low"]', "remote_images = true")
    profile = model.profile
    assert (profile.temperature, profile.efforts, profile.remote_images) == ("none", ("low",), True)
    assert profile.retention == {"store": False}
    assert model.upstream.profile == PROFILES["openai"]
    older = described('thinking = "budget"', 'later_instructions = "none"', "prefill = false")
    assert older.profile.thinking == "budget"
    assert older.profile.later_instructions == "none"
    assert not older.profile.prefill
    limited = described("output_limit = 7")
    assert (limited.output_limit, limited.profile.output_limit) == (7, 7)


def test_fields_that_pass_are_the_profile_s_unless_the_model_names_others() -> None:
    assert described(profile="vllm").sampling == PROFILES["vllm"].sampling
    assert described('sampling = ["top_k"]').sampling == {"top_k"}
    assert described("sampling = []", profile="vllm").sampling == frozenset()


def test_a_cache_is_kept_apart_or_not_as_the_operator_says() -> None:
    explicit = {"store": False, "prompt_cache_options": {"mode": "explicit"}}
    assert described("isolated_cache = true").profile.retention == explicit
    assert described("isolated_cache = false").profile.retention == {"store": False}
    assert described(profile="vllm").profile.cache_salt
    assert not described("isolated_cache = false", profile="vllm").profile.cache_salt


def test_limits_of_a_model_are_those_of_the_file_where_it_names_them() -> None:
    config = parse_config(
        "[[models]]\nname='small'\nupstream='embedded'\nlimits={stop_bytes=7}\n"
        "[[models]]\nname='large'\nupstream='p'\n[models.limits]\nimages=0\n"
        "[upstreams.p]\naddress='tcp://127.0.0.1:1'\n"
    )
    small, large = build_models(config, "/run/engine.sock", ProvisionedKeys()).models
    assert small.bounds == replace(EMBEDDED, stop_bytes=7)
    assert large.bounds == replace(PROVIDER, images=0)


def test_workers_share_the_connections_of_the_engine() -> None:
    assert [engine_share(workers) for workers in (1, 3, 32, 256)] == [32, 10, 1, 1]
    config = parse_config("[server]\nworkers=4\n")
    (model,) = build_models(config, "/run/engine.sock", ProvisionedKeys()).models
    assert model.upstream.concurrency == 8


def test_a_model_makes_embeddings_only_if_its_table_says_so_and_its_dialect_can() -> None:
    assert not described().embeddings
    assert not described("embeddings = false").embeddings
    model = described("embeddings = true")
    assert model.embeddings
    abilities = ("tools", "images", "files", "reasoning", "structured_output")
    assert not any(getattr(model, name) for name in abilities)
    other = provider('dialect = "anthropic"').replace('name = "m"', 'name = "m"\nembeddings = true')
    with pytest.raises(ValueError, match=r"model 'm': the dialect 'anthropic' makes no embeddings"):
        build(other)


def later_instructions(said: str, *settings: str) -> str:
    text = provider(*settings).replace('name = "m"', f'name = "m"\n{said}')
    return build(text).models[0].profile.later_instructions


@pytest.mark.parametrize(
    "settings",
    [
        ('dialect = "gemini"', 'host_name = "generativelanguage.googleapis.com"'),
        ('dialect = "gemini"', 'host_name = "models.example.com"'),
    ],
    ids=str,
)
def test_where_there_is_no_place_for_later_instructions_the_user_says_them(
    settings: tuple[str, ...],
) -> None:
    assert later_instructions("", *settings) == "user"
    assert later_instructions('later_instructions = "none"', *settings) == "none"
    with pytest.raises(ValueError, match="'m': the dialect 'gemini' has no place"):
        later_instructions('later_instructions = "system"', *settings)


def test_elsewhere_later_instructions_are_the_system_s_unless_it_is_said_otherwise() -> None:
    assert later_instructions("") == later_instructions('later_instructions = "system"') == "system"
    assert later_instructions('later_instructions = "user"') == "user"
