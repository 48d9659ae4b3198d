"""pydantic-ai: asks at the address and for the model that it is given, over three APIs."""

import asyncio
import base64
import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

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


async def said(model: Any, thinking: dict[str, Any]) -> dict[str, str]:
    """Return what the model says to each of the questions."""
    image = BinaryContent(base64.b64decode(PNG), media_type="image/png")
    able = Agent(model, tools=[weather])
    thought = await Agent(model, model_settings=thinking).run("Hello")
    parts = [part for message in thought.all_messages() for part in message.parts]
    return {
        "chat": (await Agent(model, instructions="Be brief.").run("Hello")).output,
        "stream": await streamed(Agent(model), "Hello"),
        "tools": (await able.run("Weather?")).output,
        "streamed tools": await streamed(able, "Weather?"),
        "structured": (await Agent(model, output_type=City).run("Where?")).output.model_dump_json(),
        "reasoning": "".join(p.content for p in parts if p.part_kind == "thinking"),
        "image": (await Agent(model).run(["What?", image])).output,
    }


async def streamed(agent: Any, question: str) -> str:
    """Return what comes one piece after another."""
    async with agent.run_stream(question) as answer:
        return "".join([piece async for piece in answer.stream_text(delta=True)])


async def main(address: str, name: str) -> dict[str, Any]:
    """Return what is said over each API."""
    openai = OpenAIProvider(base_url=f"{address}/v1", api_key="none")
    claude = AnthropicProvider(base_url=address, api_key="none")
    budget = {"type": "enabled", "budget_tokens": 2000}
    return {
        "chat completions": await said(
            OpenAIChatModel(name, provider=openai), {"openai_reasoning_effort": "high"}
        ),
        "Responses": await said(
            OpenAIResponsesModel(name, provider=openai),
            {"openai_reasoning_effort": "high", "openai_reasoning_summary": "auto"},
        ),
        "Messages": await said(
            AnthropicModel(name, provider=claude), {"anthropic_thinking": budget}
        ),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
