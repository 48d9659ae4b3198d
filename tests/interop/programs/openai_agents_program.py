"""OpenAI's Agents SDK: asks at the address and for the model that it is given, over two APIs."""

import asyncio
import json
import sys
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from openai.types.shared import Reasoning
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


async def said(model: Any) -> dict[str, str]:
    """Return what the model says to each of the questions."""
    able: dict[str, Any] = {"model": model, "tools": [function_tool(weather)]}
    thinking = ModelSettings(reasoning=Reasoning(effort="high", summary="auto"))
    image = {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PNG}"}
    shown = [{"role": "user", "content": [{"type": "input_text", "text": "What?"}, image]}]
    city = (await Runner.run(Agent("a", model=model, output_type=City), "Where?")).final_output
    return {
        "chat": await answered(Agent("a", instructions="Be brief.", model=model), "Hello"),
        "stream": await streamed(Agent("a", model=model), "Hello"),
        "tools": await answered(Agent("a", **able), "Weather?"),
        "streamed tools": await streamed(Agent("a", **able), "Weather?"),
        "structured": city.model_dump_json(),
        "reasoning": await answered(Agent("a", **able, model_settings=thinking), "Weather?"),
        "image": await answered(Agent("a", model=model), shown),
    }


async def answered(agent: Any, question: Any) -> str:
    """Return what is said in the end."""
    return str((await Runner.run(agent, question)).final_output)


async def streamed(agent: Any, question: Any) -> str:
    """Return what is said in the end of a stream."""
    answer = Runner.run_streamed(agent, question)
    async for _ in answer.stream_events():
        pass
    return str(answer.final_output)


async def main(address: str, name: str) -> dict[str, Any]:
    """Return what is said over each API; the SDK's own traces are not sent."""
    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=f"{address}/v1", api_key="none")
    return {
        "Responses": await said(OpenAIResponsesModel(name, client)),
        "chat completions": await said(OpenAIChatCompletionsModel(name, client)),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
