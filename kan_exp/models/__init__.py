"""A trained network in the user's units: predictions, intervals, edges and their importance.

Models are loaded from the checkpoints of runs; neither Lightning nor matplotlib is needed.
"""
