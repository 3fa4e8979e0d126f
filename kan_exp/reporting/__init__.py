"""Compares the finished runs of folders: groups, statistics, figures, and one page about them.

It reads what runs have written and imports no torch.
"""
