"""Compares many runs: groups, summarizes and draws them; without torch."""
