"""The dialect against botocore's model of Bedrock: requests are valid, and answers are read."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import botocore
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape, StructureShape
from botocore.parsers import EventStreamJSONParser, RestJSONParser
from botocore.validate import validate_parameters
from msgspec.structs import replace

from enclave_server.chat.dialects.bedrock.answers import REASONS
from enclave_server.chat.dialects.bedrock.dialect import Bedrock
from enclave_server.chat.dialects.bedrock.messages import NAME
from enclave_server.chat.dialects.dialect import Account
from tests.support.conversations import asked, cases, model
from tests.support.converse import CONTENTS, streamed, whole

Json = dict[str, Any]

CLAUDE = "eu.anthropic.claude-x-v1:0"
VERSION = f"botocore {botocore.__version__}"

# What is done about each member: said for a client (mapped), said for the gateway itself (set),
# never said since it changes no answer or tells who asks (dropped), or not to be had (refused).
MAPPED, SET, DROPPED, REFUSED = "mapped", "set", "dropped", "refused"
REQUEST = {
    "modelId": MAPPED,  # in the path
    "messages": MAPPED,
    "system": MAPPED,
    "inferenceConfig": MAPPED,
    "toolConfig": MAPPED,
    "outputConfig": MAPPED,
    "additionalModelRequestFields": MAPPED,
    "serviceTier": SET,
    "requestMetadata": DROPPED,
    "projectIdentifier": DROPPED,
    "additionalModelResponseFieldPaths": DROPPED,
    "performanceConfig": DROPPED,
    "guardrailConfig": REFUSED,
    "promptVariables": REFUSED,
}
SHAPES = {
    "ConverseRequest": REQUEST,
    "ConverseStreamRequest": REQUEST,
    "Message": {"role": MAPPED, "content": MAPPED},
    "SystemContentBlock": {"text": MAPPED, "guardContent": REFUSED, "cachePoint": DROPPED},
    "ContentBlock": {
        "text": MAPPED,
        "image": MAPPED,
        "document": MAPPED,
        "toolUse": MAPPED,
        "toolResult": MAPPED,
        "reasoningContent": MAPPED,
        "cachePoint": DROPPED,
        "citationsContent": DROPPED,
        "video": REFUSED,
        "audio": REFUSED,
        "guardContent": REFUSED,
        "searchResult": REFUSED,
        "toolAddition": REFUSED,
        "toolRemoval": REFUSED,
    },
    "ImageBlock": {"format": MAPPED, "source": MAPPED, "error": DROPPED},
    "ImageSource": {"bytes": MAPPED, "s3Location": REFUSED},
    "DocumentBlock": {
        "format": MAPPED,
        "name": SET,
        "source": MAPPED,
        "context": REFUSED,
        "citations": REFUSED,
    },
    "DocumentSource": {
        "bytes": MAPPED,
        "s3Location": REFUSED,
        "text": REFUSED,
        "content": REFUSED,
    },
    "ToolUseBlock": {"toolUseId": MAPPED, "name": MAPPED, "input": MAPPED, "type": DROPPED},
    "ToolResultBlock": {
        "toolUseId": MAPPED,
        "content": MAPPED,
        "status": MAPPED,
        "type": DROPPED,
    },
    "ToolResultContentBlock": {
        "text": MAPPED,
        "image": MAPPED,
        "document": MAPPED,
        "json": DROPPED,
        "video": REFUSED,
        "searchResult": REFUSED,
    },
    "ReasoningContentBlock": {"reasoningText": MAPPED, "redactedContent": MAPPED},
    "ReasoningTextBlock": {"text": MAPPED, "signature": MAPPED},
    "InferenceConfiguration": {
        "maxTokens": MAPPED,
        "temperature": MAPPED,
        "topP": MAPPED,
        "stopSequences": MAPPED,
    },
    "ToolConfiguration": {"tools": MAPPED, "toolChoice": MAPPED},
    "Tool": {"toolSpec": MAPPED, "systemTool": REFUSED, "cachePoint": DROPPED},
    "ToolSpecification": {
        "name": MAPPED,
        "description": MAPPED,
        "inputSchema": MAPPED,
        "strict": MAPPED,
    },
    "ToolInputSchema": {"json": MAPPED},
    "ToolChoice": {"any": MAPPED, "tool": MAPPED, "auto": DROPPED},  # it is the usual one
    "SpecificToolChoice": {"name": MAPPED},
    "OutputConfig": {"textFormat": MAPPED, "effort": MAPPED},
    "OutputFormat": {"type": MAPPED, "structure": MAPPED},
    "OutputFormatStructure": {"jsonSchema": MAPPED},
    "JsonSchemaDefinition": {"schema": MAPPED, "name": MAPPED, "description": MAPPED},
    "ServiceTier": {"type": SET},
}


@cache
def service() -> ServiceModel:
    """Return botocore's model of the service."""
    loaded = Loader().load_service_model("bedrock-runtime", "service-2")
    return ServiceModel(loaded, "bedrock-runtime")


def requests() -> Iterator[tuple[str, str, Json]]:
    """Yield everything that can be asked: its name, its operation, and its body."""
    for name, question in cases(NAME).items():
        yield name, "Converse", body(question)
        yield name, "ConverseStream", body(replace(question, stream=True))
    yield (
        "budget",
        "Converse",
        body(asked(reasoning_effort="low", max_tokens=2000), thinking="budget"),
    )
    other = model("openai.gpt-oss-120b-1:0")
    request = Bedrock().request(asked(reasoning_effort="low"), other, Account())
    yield "effort of others", "Converse", json.loads(request.body)
    yield "tier", "Converse", body(asked(), retention={"serviceTier": {"type": "flex"}})


def body(question: Any, **profile: Any) -> Json:
    request = Bedrock().request(question, model(CLAUDE, **profile), Account())
    said: Json = json.loads(request.body)
    return said


REQUESTS = list(requests())


@pytest.mark.parametrize(("name", "operation", "said"), REQUESTS, ids=lambda value: str(value)[:20])
def test_requests_are_valid_to_botocore(name: str, operation: str, said: Json) -> None:
    shape = service().operation_model(operation).input_shape
    validate_parameters({**said, "modelId": CLAUDE}, shape)


def test_botocore_would_notice_what_it_does_not_know() -> None:
    shape = service().operation_model("Converse").input_shape
    with pytest.raises(botocore.exceptions.ParamValidationError):
        validate_parameters({**REQUESTS[0][2], "modelId": CLAUDE, "metadata": {}}, shape)


@pytest.mark.parametrize("name", SHAPES)
def test_every_member_of_botocore_is_decided_on(name: str) -> None:
    assert service().shape_for(name).members.keys() == SHAPES[name].keys(), VERSION


def test_members_are_said_as_it_is_decided() -> None:
    said: dict[str, set[str]] = {name: set() for name in SHAPES}
    for _, operation, told in REQUESTS:
        collect(told, service().operation_model(operation).input_shape, said)
    said["ConverseRequest"].add("modelId")
    said["ConverseStreamRequest"] |= {"modelId", "serviceTier"}
    for name, members in SHAPES.items():
        wanted = {member for member, what in members.items() if what in (MAPPED, SET)}
        assert said[name] == wanted, name


def collect(value: Any, shape: Shape, said: dict[str, set[str]]) -> None:
    """Add to `said` which members of which shapes are in `value`."""
    if isinstance(value, dict) and isinstance(shape, StructureShape):
        if not shape.members:
            return  # a document, or nothing
        said.setdefault(shape.name, set()).update(value)
        for name, member in value.items():
            collect(member, shape.members[name], said)
    elif isinstance(value, list):
        for item in value:
            collect(item, shape.member, said)


def test_every_reason_of_botocore_is_decided_on() -> None:
    malformed = {"malformed_model_output", "malformed_tool_use"}
    assert set(service().shape_for("StopReason").enum) == {*REASONS} | malformed, VERSION


@pytest.mark.parametrize("case", [name for name in CONTENTS if name != "an unknown block"])
def test_answers_are_such_as_botocore_reads(case: str) -> None:
    reason, content = CONTENTS[case]
    shape = service().operation_model("Converse").output_shape
    answer = {"status_code": 200, "headers": {}, "body": whole(content, reason)}
    parsed = RestJSONParser().parse(answer, shape)
    assert parsed["stopReason"] == reason
    assert [list(block) for block in parsed["output"]["message"]["content"]] == [
        list(block) for block in content
    ]


@pytest.mark.parametrize("case", [name for name in CONTENTS if name != "an unknown block"])
def test_streams_are_such_as_botocore_reads(case: str) -> None:
    reason, content = CONTENTS[case]
    output = service().operation_model("ConverseStream").output_shape
    shape, parser = output.members["stream"], EventStreamJSONParser()
    buffer = EventStreamBuffer()
    buffer.add_data(streamed(content, reason))
    events = [parser.parse(frame.to_response_dict(), shape) for frame in buffer]
    text = "".join(
        event["contentBlockDelta"]["delta"].get("text", "")
        for event in events
        if "contentBlockDelta" in event
    )
    assert text == "".join(block.get("text", "") for block in content)
    assert {"stopReason": reason} in [event.get("messageStop") for event in events]
