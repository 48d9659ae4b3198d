"""Settings with which programs ask through `oblivious-client serve`, as in docs/programs.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of one program: where they belong, and their text with `{url}` and `{model}`."""

    place: str
    template: str

    def text(self, url: str, model: str) -> str:
        """Return the settings for an endpoint, by its URL without a path, and for a model."""
        return self.template.replace("{url}", url).replace("{model}", model)


_SHELL = "in the shell that starts it"

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
    ),
    "claude-code": Recipe(
        _SHELL,
        """\
export ANTHROPIC_BASE_URL={url} ANTHROPIC_API_KEY=none ANTHROPIC_MODEL={model}
export ANTHROPIC_DEFAULT_HAIKU_MODEL={model}
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 CLAUDE_CODE_ATTRIBUTION_HEADER=0
""",
    ),
    "openwebui": Recipe(
        _SHELL,
        """\
export OPENAI_API_BASE_URL={url}/v1 OPENAI_API_KEY=none DEFAULT_MODELS={model}
export ENABLE_OLLAMA_API=false ENABLE_PERSISTENT_CONFIG=false ENABLE_VERSION_UPDATE_CHECK=false
export ANONYMIZED_TELEMETRY=false DO_NOT_TRACK=true SCARF_NO_ANALYTICS=true
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
