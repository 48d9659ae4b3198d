"""OpenAI's Responses API, as OpenAI and others serve it; nothing is kept there."""
