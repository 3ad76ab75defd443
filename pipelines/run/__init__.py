"""A run: its plan, walking it, its folder, where it came from, the processes that share it."""
