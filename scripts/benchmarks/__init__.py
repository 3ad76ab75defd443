"""Engines side by side on one machine in one run: medians, ratios, and with what they were measured."""
