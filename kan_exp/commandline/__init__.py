"""Reads command lines before Hydra does, and explains its errors in one line.

Text is quoted for Hydra's grammar, paths and renamed options are recognized; no torch is imported.
"""
