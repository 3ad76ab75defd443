"""Test tasks and ordinary chat, before and after training."""
