"""Makes an experiment that is ready to run from a configuration, typed or made in Python.

It translates what Hydra composes into the dataclasses of `config`, and checks and completes these.
"""
