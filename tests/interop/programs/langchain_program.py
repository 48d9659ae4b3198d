"""LangChain: asks at the address and for the model that it is given, over three APIs."""

import json
import sys
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class City(BaseModel):
    """A city."""

    city: str


def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def said(model: Any, thinking: Any) -> dict[str, str]:
    """Return what the model says to each of the questions."""
    image = {"type": "image", "base64": PNG, "mime_type": "image/png"}
    shown = HumanMessage([{"type": "text", "text": "What?"}, image])
    return {
        "chat": model.invoke("Hello").text,
        "stream": "".join(chunk.text for chunk in model.stream("Hello")),
        "tools": with_tools(model, stream=False),
        "streamed tools": with_tools(model, stream=True),
        "structured": model.with_structured_output(City).invoke("Where?").model_dump_json(),
        "reasoning": with_tools(thinking, stream=False),
        "image": model.invoke([shown]).text,
    }


def with_tools(model: Any, *, stream: bool) -> str:
    """Return the answer to what the tool says."""
    function = tool(weather)
    able, messages = model.bind_tools([function]), [HumanMessage("Weather?")]
    while not (answer := asked(able, messages, stream=stream)).text:
        messages += [answer, *(function.invoke(call) for call in answer.tool_calls)]
    return str(answer.text)


def asked(model: Any, messages: list[Any], *, stream: bool) -> Any:
    """Return the answer, whole or put together of a stream."""
    if not stream:
        return model.invoke(messages)
    first, *others = model.stream(messages)
    for chunk in others:
        first += chunk
    return first


def main(address: str, name: str) -> dict[str, Any]:
    """Return what is said over each API."""
    openai: dict[str, Any] = {"model": name, "base_url": f"{address}/v1", "api_key": "none"}
    claude: dict[str, Any] = {"model": name, "base_url": address, "api_key": "none"}
    budget = {"type": "enabled", "budget_tokens": 2000}
    effort = {"effort": "high", "summary": "auto"}
    return {
        "chat completions": said(
            ChatOpenAI(**openai), ChatOpenAI(**openai, reasoning_effort="high")
        ),
        "Responses": said(
            ChatOpenAI(**openai, use_responses_api=True),
            ChatOpenAI(**openai, use_responses_api=True, reasoning=effort),
        ),
        "Messages": said(
            ChatAnthropic(**claude), ChatAnthropic(**claude, max_tokens=8000, thinking=budget)
        ),
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
