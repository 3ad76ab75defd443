"""The token engine: prompts as token ids to completions as token ids, nothing computed twice. Knows no text, no tasks."""
