"""From a small causal LM and a JSON verifier to attention maps, verdicts, preference pairs and a better model."""
