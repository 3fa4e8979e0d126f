"""Trains on rows in memory in one call, and has the model that `fit` and `load` return.

It joins the rooms below for use from Python; the only files are those that a model saves.
"""
