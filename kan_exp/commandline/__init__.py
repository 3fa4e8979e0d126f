"""Parses command lines for Hydra and explains errors in one line."""
