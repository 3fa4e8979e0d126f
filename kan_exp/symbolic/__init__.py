"""Finds formulas for data and networks, and writes them in the notations of other programs.

A formula is a tree of `expression`; a search proposes trees, and `judge` compares them with noise.
"""
