"""Every field of what OpenAI's types put into a Responses request is read, dropped or refused."""

from typing import Any, get_type_hints

import openai.types.responses as sdk
import pytest
from openai import __version__
from openai.types.responses.response_input_param import FunctionCallOutput, Message
from openai.types.shared_params import Reasoning

from enclave_server.chat.surfaces import dropped
from enclave_server.chat.surfaces import responses_shapes as shapes
from enclave_server.chat.surfaces.responses_stripping import OF_ITEM, OF_PART

NOTHING: frozenset[str] = frozenset()
TOOL = {"allowed_callers", "async", "defer_loading", "output_schema"}

# Of each type of the SDK: the shape that reads it, what is dropped of it, and what is refused.
TYPES: list[tuple[Any, Any, frozenset[str], set[str]]] = [
    (Message, shapes.MessageItem, OF_ITEM, set()),
    (sdk.EasyInputMessageParam, shapes.MessageItem, OF_ITEM, set()),
    (sdk.ResponseOutputMessageParam, shapes.MessageItem, OF_ITEM, set()),
    (sdk.ResponseInputTextParam, shapes.InputText, OF_PART, set()),
    (sdk.ResponseInputImageParam, shapes.InputImage, OF_PART, {"file_id"}),
    (sdk.ResponseInputFileParam, shapes.InputFile, OF_PART, {"detail", "file_id", "file_url"}),
    (sdk.ResponseOutputTextParam, shapes.OutputText, OF_PART, set()),
    (sdk.ResponseOutputRefusalParam, shapes.RefusalPart, OF_PART, set()),
    (sdk.ResponseFunctionToolCallParam, shapes.CallItem, OF_ITEM, {"async", "caller"}),
    (FunctionCallOutput, shapes.ResultItem, OF_ITEM, {"caller", "name", "namespace"}),
    (sdk.ResponseReasoningItemParam, shapes.ReasoningItem, OF_ITEM, set()),
    (sdk.FunctionToolParam, shapes.FunctionTool, dropped.OF_TOOL, TOOL),
    (sdk.ToolChoiceFunctionParam, shapes.ChosenTool, NOTHING, set()),
    (sdk.ToolChoiceAllowedParam, shapes.AllowedTools, NOTHING, set()),
    (sdk.ResponseTextConfigParam, shapes.TextWishes, NOTHING, set()),
    (
        sdk.ResponseFormatTextJSONSchemaConfigParam,
        shapes.JsonSchemaFormat,
        NOTHING,
        set(),
    ),
    (Reasoning, shapes.ReasoningWishes, NOTHING, {"context", "mode"}),
]


@pytest.mark.parametrize(("theirs", "shape", "silent", "refused"), TYPES, ids=str)
def test_each_of_their_fields_is_read_dropped_or_refused(
    theirs: Any, shape: Any, silent: frozenset[str], refused: set[str]
) -> None:
    known = {*get_type_hints(theirs)} - {"type"}
    assert known - {*shape.__struct_fields__} - silent == refused, f"openai {__version__}"
