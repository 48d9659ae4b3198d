"""The embedded model is offered with what its engine can do."""

from enclave_server.addresses import UnixAddress
from enclave_server.chat.embedded import CONCURRENCY, embedded_model


def test_the_embedded_model_is_reached_at_the_socket_of_its_engine() -> None:
    model = embedded_model("small", "/run/engine.sock", "Be brief.")
    assert (model.name, model.upstream_name, model.system_prompt) == ("small", "small", "Be brief.")
    assert model.upstream.address == UnixAddress("/run/engine.sock")
    assert model.upstream.key is None


def test_what_would_harm_the_engine_is_not_offered() -> None:
    model = embedded_model("small", "/run/engine.sock", None)
    assert (model.tools, model.images, model.bounds.choices) == (False, False, 2)
    assert (model.upstream.concurrency, model.upstream.idle_connections) == (CONCURRENCY, 0)
    assert model.upstream.tells_its_end  # a slot counts until the engine has stopped
    assert not model.completion_options
