"""Any rank but the first of a run on several devices; `kan_exp.train` starts it.

It trains and writes nothing, shows nothing and scores nothing.
"""

from __future__ import annotations

import sys

from kan_exp.cli import MENDABLE, one_line, store_schema
from kan_exp.config import TrainConfig
from kan_exp.ranks import Follower


def follow() -> None:
    """Makes the run's experiment again and takes part in its training."""
    member = Follower()
    from kan_exp.train import prepare

    job = member.job
    experiment = prepare([*job["overrides"], "logger=none"], job["folder"], job["config"], member)
    member.gather()
    experiment.trainer.fit(experiment.module, datamodule=experiment.data)


if __name__ == "__main__":
    store_schema("train_schema", TrainConfig)
    try:
        follow()
    except MENDABLE as error:
        sys.exit(one_line(error))
