"""Any rank but the first of a run on several devices; `kan_exp.train` starts it.

It trains, and writes nothing, shows nothing and scores nothing.
"""

from __future__ import annotations

import sys

from kan_exp.errors import KanExpError
from kan_exp.preparing.experiment import make_rank
from kan_exp.ranks import Follower
from kan_exp.runs.printable import printable
from kan_exp.terminal import steady_streams


def follow() -> None:
    """Makes rank 0's experiment again and takes part in its training."""
    member = Follower()
    experiment = make_rank(dict(member.job), member)
    member.gather()
    experiment.trainer.fit(experiment.module, datamodule=experiment.data)


if __name__ == "__main__":
    steady_streams()
    try:
        follow()
    except (KanExpError, OSError) as error:
        sys.exit(printable(" ".join(str(error).split())))
