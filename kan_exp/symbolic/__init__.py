"""Formulas: found in data, written as trees, with constants and their errors."""
