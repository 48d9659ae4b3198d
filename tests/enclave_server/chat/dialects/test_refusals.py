"""Refusals of dialects: the field is named, and what is possible is said."""

from enclave_server.chat.dialects.refusals import unsupported, unsupported_value


def test_a_field_and_a_value_are_refused_by_name() -> None:
    field, value = unsupported("seed", "Leave it out."), unsupported_value("seed", "It takes 1.")
    assert [error.status for error in (field, value)] == [400, 400]
    assert [error.param for error in (field, value)] == ["seed", "seed"]
    assert [error.code for error in (field, value)] == [
        "unsupported_parameter",
        "unsupported_value",
    ]
    assert field.message.endswith("'seed'. Leave it out.")
    assert value.message.endswith("'seed'. It takes 1.")
