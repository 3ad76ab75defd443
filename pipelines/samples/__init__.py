"""Verified samples of tasks: drawn from a policy, reproducibly, into a store that nothing loses.

Imports nothing: the store is read without torch.
"""
