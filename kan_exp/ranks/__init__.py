"""The processes that train one network together (`trainer=ddp`).

They are forked from rank 0, watched by it, and end with it; `training.shared` adds their gradients.
"""

from kan_exp.ranks.processes import Processes, Rank

__all__ = ["Processes", "Rank"]
