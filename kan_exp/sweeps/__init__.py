"""Many runs by one command: plans the jobs, launches them, and writes a summary of the results.

Sweepers and launchers are plugins of Hydra; jobs that differ in their seed alone are stacked.
"""
