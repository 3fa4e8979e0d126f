"""Makes our launcher and sweepers known to Hydra, which takes plugins from this package only."""

from kan_exp.sweeps import launcher, optuna_sweeper, sweeper


class WarmLauncher(launcher.WarmLauncher):
    __doc__ = launcher.WarmLauncher.__doc__


class GridSweeper(sweeper.GridSweeper):
    __doc__ = sweeper.GridSweeper.__doc__


class OptunaSweeper(optuna_sweeper.OptunaSweeper):
    __doc__ = optuna_sweeper.OptunaSweeper.__doc__
