"""Chat completions: validation, scrubbing, upstreams, signed answers."""
