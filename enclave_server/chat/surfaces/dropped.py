"""What is done with fields that the chat surfaces do not know, in three classes.

Dropped in silence is what changes nothing of an answer, or only tells whose it is, and what
programs send back of an earlier answer. Sampling passes where a model's table lists it
(`chat/sampling.py`). All else is refused by name, with what is possible in its place.
docs/models.md has the whole table.
"""

# Of a request: who asks, what belongs together, and what is to be kept or cached of it.
OF_REQUEST = frozenset(
    {
        "cache_control",
        "chat_id",
        "conversation_id",
        "id",
        "message_id",
        "metadata",
        "prompt_cache_breakpoint",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "provider_specific_fields",
        "request_id",
        "safety_identifier",
        "service_tier",
        "session_id",
        "store",
        "trace_id",
        "user",
    }
)

# Padding of streams is the gateway's own task.
OF_STREAM_OPTIONS = frozenset({"include_obfuscation"})

# Of a message: who took part, and what programs echo from an earlier answer.
OF_MESSAGE = frozenset(
    {
        "annotations",
        "artifact",
        "audio",
        "cache_control",
        "created_at",
        "finish_reason",
        "id",
        "index",
        "logprobs",
        "metadata",
        "model",
        "name",
        "parsed",
        "prompt_cache_breakpoint",
        "provider_specific_fields",
        "reasoning_details",
        "status",
        "thinking_blocks",
        "timestamp",
        "usage",
    }
)

# Of a part of a message, and of what is in it.
OF_PART = frozenset(
    {
        "annotations",
        "cache_control",
        "id",
        "index",
        "logprobs",
        "parsed",
        "prompt_cache_breakpoint",
        "provider_specific_fields",
    }
)
OF_FILE = frozenset({"filename", "format"})

# Of a call, and of the function in it.
OF_CALL = frozenset({"cache_control", "index", "parsed_arguments", "provider_specific_fields"})

# Of a tool, and of the function in it.
OF_TOOL = frozenset(
    {"cache_control", "id", "metadata", "prompt_cache_breakpoint", "provider_specific_fields"}
)

# What is as good as absent when it is empty.
EMPTY = frozenset({"functions", "logit_bias", "modalities", "stop", "tool_calls", "tools"})

# What means nothing where there is no tool.
OF_TOOLS = frozenset({"parallel_tool_calls", "tool_choice"})
FREE_CHOICES = ("auto", "none")

# What is possible in place of what is refused.
ADVICE = {
    "audio": "Models are asked for text alone.",
    "background": "Nothing is kept here that could be fetched later.",
    "enable_search": "Nothing is searched here.",
    "file_id": "Nothing is kept here: send the file itself in 'file_data'.",
    "function_call": "Use 'tool_choice', and 'tool_calls' in messages.",
    "functions": "Use 'tools'.",
    "guided_choice": "Use 'response_format' with a schema.",
    "guided_json": "Use 'response_format' with a schema.",
    "guided_regex": "Use 'response_format' with a schema.",
    "max_output_tokens": "Use 'max_completion_tokens'.",
    "models": "One model answers: the one in 'model'.",
    "moderation": "No other model is shown what is asked.",
    "plugins": "Tools run where you are: use 'tools'.",
    "previous_response_id": "Nothing is kept here: send the whole conversation.",
    "prediction": "Leave it out: it changes the speed alone.",
    "provider": "Who serves a model is set by the configuration, which is attested.",
    "reasoning": "Use 'reasoning_effort'.",
    "route": "One model answers: the one in 'model'.",
    "structured_outputs": "Use 'response_format' with a schema.",
    "transforms": "Shorten the messages yourself: nothing is left out here.",
    "web_search_options": "Nothing is searched here: use 'tools'.",
}
