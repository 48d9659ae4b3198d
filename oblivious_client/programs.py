"""Settings with which programs ask through `oblivious-client serve`, as in docs/programs.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from oblivious_client.defaults import DEFAULT_MODEL

WITHOUT_TOOLS = frozenset({DEFAULT_MODEL})
"""Models that are known here to call no tools: a question that offers some is refused."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one program: where they belong, and their text with `{url}` and `{model}`.

    `untooled` is text to add for a model that calls no tools, `hint` what to do about that.
    """

    place: str
    template: str
    untooled: str = ""
    hint: str = ""

    def text(self, url: str, model: str) -> str:
        """Return the settings for an endpoint, by its URL without a path, and for a model."""
        more = self.untooled if model in WITHOUT_TOOLS else ""
        return self.template.replace("{url}", url).replace("{model}", model) + more

    def note(self, model: str) -> str | None:
        """Return what to do about a model that cannot call the tools that the program offers."""
        is_hindered = self.hint and model in WITHOUT_TOOLS
        return f"{model} calls no tools: {self.hint}" if is_hindered else None


_SHELL = "in the shell that starts it"
_OTHER_MODEL = "the program offers some with each question, so name another model with --model"

RECIPES: Mapping[str, Recipe] = {
    "codex": Recipe(
        "~/.codex/config.toml",
        """\
model = "{model}"
model_provider = "oblivious"
web_search = "disabled"
[model_providers.oblivious]
name = "oblivious"
base_url = "{url}/v1"
wire_api = "responses"
""",
        hint=_OTHER_MODEL,
    ),
    "claude-code": Recipe(
        _SHELL,
        """\
export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=none ANTHROPIC_MODEL={model}
export ANTHROPIC_DEFAULT_HAIKU_MODEL={model}
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_ATTRIBUTION_HEADER=0
""",
        hint=_OTHER_MODEL,
    ),
    "openwebui": Recipe(
        _SHELL,
        """\
export OPENAI_API_BASE_URL={url}/v1 OPENAI_API_KEY=none DEFAULT_MODELS={model}
export ENABLE_OLLAMA_API=false ENABLE_PERSISTENT_CONFIG=false ENABLE_VERSION_UPDATE_CHECK=false
export ANONYMIZED_TELEMETRY=false DO_NOT_TRACK=true SCARF_NO_ANALYTICS=true
""",
        untooled="""\
export DEFAULT_MODEL_METADATA='{"capabilities": {"builtin_tools": false}}'
""",
    ),
    "continue": Recipe(
        "~/.continue/config.yaml",
        """\
name: oblivious
version: 0.0.1
schema: v1
models:
  - name: oblivious
    provider: openai
    model: {model}
    apiBase: {url}/v1
    apiKey: none
    roles: [chat, edit, apply]
""",
        hint="start its command line with --exclude '*'",
    ),
    "aider": Recipe(
        _SHELL,
        """\
export OPENAI_API_BASE={url}/v1 OPENAI_API_KEY=none AIDER_MODEL=openai/{model}
export AIDER_WEAK_MODEL=openai/{model} AIDER_ANALYTICS_DISABLE=true AIDER_CHECK_UPDATE=false
""",
    ),
    "opencode": Recipe(
        "opencode.json",
        """\
{
  "model": "oblivious/{model}",
  "small_model": "oblivious/{model}",
  "share": "disabled",
  "provider": {
    "oblivious": {
      "npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "{url}/v1", "apiKey": "none"},
      "models": {"{model}": {}}
    }
  }
}
""",
        hint=_OTHER_MODEL,
    ),
    "llm": Recipe(
        "extra-openai-models.yaml in the folder that `llm logs path` names",
        """\
- model_id: oblivious
  model_name: {model}
  api_base: {url}/v1
  supports_tools: true
  vision: true
  reasoning: true
""",
    ),
}
