"""Anthropic's Messages API, as Anthropic, Google's Vertex AI and Amazon's Bedrock serve it."""
