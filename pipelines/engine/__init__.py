"""The token engine: from prompts as token ids to completions as token ids, nothing computed twice. Knows no text."""
