"""Any rank but the first of a run on several devices; `kan_exp.train` starts it.

It trains, and writes nothing, shows nothing and scores nothing.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from kan_exp.cli import config_folder, store_schema
from kan_exp.commandline.explain import USER_ERRORS, one_line
from kan_exp.config import TrainConfig
from kan_exp.preparing import make_experiment
from kan_exp.ranks import Follower
from kan_exp.runs.printable import printable
from kan_exp.terminal import steady_streams


def follow() -> None:
    """Makes rank 0's experiment again and takes part in its training."""
    member = Follower()
    job = member.job
    cfg = OmegaConf.create(job["config"])
    cfg.logger = None
    with initialize_config_dir(config_folder(), version_base=None):
        store_schema("train_schema", TrainConfig)
        hydra = compose("train", overrides=job["search"], return_hydra_config=True)
        HydraConfig.instance().set_config(hydra)
        checkpoint = None if job["checkpoint"] is None else Path(job["checkpoint"])
        folder = Path(job["folder"])
        experiment = make_experiment(cfg, folder, job["choices"], member, checkpoint)
    member.gather()
    experiment.trainer.fit(experiment.module, datamodule=experiment.data)


if __name__ == "__main__":
    steady_streams()
    try:
        follow()
    except USER_ERRORS as error:
        sys.exit(printable(one_line(error)))
