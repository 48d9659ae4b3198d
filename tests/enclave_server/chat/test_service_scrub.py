"""Nothing of who asks, or with which program, is left in what leaves: the octets are the same."""

import asyncio
import base64
import json
from typing import Any

import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.profiles import PROFILES
from enclave_server.chat.service import ChatService
from enclave_server.chat.surfaces import dropped
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.binary_http import Request
from protocol.gateway import Delivery, settled
from protocol.signature import SigningKeys
from tests.support.upstream import Received, StandInUpstream, answering

KEYS = SigningKeys.generate()
DEADLINE = 120.0  # seconds, so that nothing hangs
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n".ljust(30)).decode()
PDF = base64.b64encode(b"%PDF-1.7\n".ljust(30)).decode()


def received(profile: str, *bodies: bytes) -> list[Received]:
    """Return what an upstream of `profile` hears of the requests."""

    async def scenario() -> list[Received]:
        async with StandInUpstream(answering()) as upstream, asyncio.timeout(DEADLINE):
            place = Upstream("u", parse_address(upstream.address))
            model = Model("m", place, "there", profile=PROFILES[profile])
            service = ChatService(ModelTable((model,)), lambda: KEYS)
            headers = ((b"content-type", b"application/json"),)
            for body in bodies:
                asked = Request(b"POST", b"https", b"g", b"/v1/chat/completions", headers, body)
                await settled(service.dispatch(asked, Delivery.WHOLE))
            service.close()
            return upstream.requests

    return asyncio.run(scenario())


def call(identifier: str, **more: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    return {"id": identifier, "type": "function", "function": function, **more}


def plain() -> dict[str, Any]:
    """Return a request as a modest program writes it."""
    return {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Read this."},
                    {
                        "type": "image_url",
                        "image_url": {"url": f"data:image/png;base64,{PNG}"},
                    },
                    {"type": "file", "file": {"file_data": PDF}},
                ],
            },
            {
                "role": "assistant",
                "content": "Yes.",
                "reasoning_content": "Hm",
                "tool_calls": [call("a"), call("b")],
            },
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "tool", "tool_call_id": "b", "content": "2"},
        ],
        "max_tokens": 5,
        "temperature": 1,
        "logit_bias": {"7": 1, "50256": 2},
        "tools": [{"type": "function", "function": {"name": "f"}}],
    }


def talkative() -> dict[str, Any]:
    """Return the same request as a program writes it that tells all it knows."""
    asked = plain()
    user, assistant, first, second = asked["messages"]
    text, image, file = user["content"]
    image["image_url"] = {"url": f"data:image/PNG;base64,{PNG}", "format": "png"}
    file["file"] = {"filename": "ada.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
    for part in (text, image, file):
        part |= dict.fromkeys(dropped.OF_PART, "ada")
    assistant["tool_calls"] = [
        call("call_of_ada_1", index=0, parsed_arguments={}),
        call("call_of_ada_2", provider_specific_fields={"thought_signature": "x"}),
    ]
    first["tool_call_id"], second["tool_call_id"] = "call_of_ada_1", "call_of_ada_2"
    for message in asked["messages"]:
        message |= dict.fromkeys(dropped.OF_MESSAGE, "ada") | {"refusal": None}
    assistant |= {"reasoning": "Hm", "extra_content": {"vendor": "ada"}}
    user.pop("refusal")
    first.pop("refusal")
    asked["tools"][0] |= {"cache_control": {"type": "ephemeral"}}
    asked["tools"][0]["function"] |= {"strict": None, "cache_control": "ada"}
    asked |= dict.fromkeys(dropped.OF_REQUEST, "ada")
    asked |= {"logit_bias": {"050256": 2.0, "007": 1.0}, "temperature": 1.0, "stop": None}
    return dict(reversed(asked.items()))


PROFILED = sorted(name for name, profile in PROFILES.items() if not profile.cache_salt)


@pytest.mark.parametrize("profile", PROFILED)
def test_identical_prompts_leave_identical_requests(profile: str) -> None:
    bodies = json.dumps(plain()), json.dumps(talkative(), indent=1)
    one, other = received(profile, *(body.encode() for body in bodies))
    assert one.head == other.head
    assert one.body == other.body
    assert b"ada" not in other.body.lower()


@pytest.mark.parametrize("profile", sorted(set(PROFILES) - set(PROFILED)))
def test_where_caches_are_kept_apart_the_salt_alone_differs(profile: str) -> None:
    bodies = json.dumps(plain()), json.dumps(talkative())
    one, other = received(profile, *(body.encode() for body in bodies))
    assert one.head == other.head
    salts = one.json["cache_salt"], other.json["cache_salt"]
    assert one.body.replace(salts[0].encode(), b"") == other.body.replace(salts[1].encode(), b"")
    assert salts[0] != salts[1]


@pytest.mark.parametrize("profile", PROFILES)
def test_what_an_sdk_sends_of_itself_does_not_leave(profile: str) -> None:
    (one,) = received(profile, json.dumps(plain()).encode())
    assert one.fields.keys() == {
        "host",
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "user-agent",
    }
