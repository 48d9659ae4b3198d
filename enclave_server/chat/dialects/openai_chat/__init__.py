"""OpenAI's chat completions and completions, as OpenAI and many others serve them."""
