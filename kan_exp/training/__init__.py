"""Trains a network: Lightning modules, callbacks, pruning, and the result with its sinks.

`Experiment` runs a training that `preparing` has made; each kind of module has a file of its own.
"""
