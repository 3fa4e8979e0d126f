"""Makes our launcher and sweeper known to Hydra, which takes plugins from this package only."""

from kan_exp.sweeps import launcher, sweeper


class WarmLauncher(launcher.WarmLauncher):
    __doc__ = launcher.WarmLauncher.__doc__


class GridSweeper(sweeper.GridSweeper):
    __doc__ = sweeper.GridSweeper.__doc__
