"""One network trained by several processes: who they are, how they meet and how they end."""

from kan_exp.ranks.processes import Follower, Leader, Member

__all__ = ["Follower", "Leader", "Member"]
