"""Framings and their media types."""

from oblivious_client.framing import Framing


def test_each_framing_has_its_media_types() -> None:
    assert {each.value: (each.request_type, each.response_type) for each in Framing} == {
        "chunked": ("message/ohttp-chunked-req", "message/ohttp-chunked-res"),
        "whole": ("message/ohttp-req", "message/ohttp-res"),
    }
