"""From a small causal LM and a JSON validator to attention maps, verdicts, preference pairs and a better model."""
