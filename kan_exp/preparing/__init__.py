"""From a configuration, typed or made in Python, to an experiment that is ready to run."""
