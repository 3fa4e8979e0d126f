"""The processes that train one network together (`trainer=ddp`)."""

from kan_exp.ranks.processes import Processes, Rank

__all__ = ["Processes", "Rank"]
