"""The embedded model is offered with what its engine can do."""

from enclave_server.addresses import UnixAddress
from enclave_server.chat.embedded import CONCURRENCY, CONTEXT_LENGTH, embedded_model
from enclave_server.engine.__main__ import SETTINGS


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
    assert (model.files, model.reasoning) == (False, False)


def test_a_question_and_its_answer_share_what_one_slot_has() -> None:
    assert SETTINGS["n_ctx"] // SETTINGS["n_parallel"] == CONTEXT_LENGTH
    model = embedded_model("small", "/run/engine.sock", None)
    assert (model.context_length, model.output_limit) == (CONTEXT_LENGTH, CONTEXT_LENGTH)
