"""From a configuration to an experiment that is ready to run."""

from kan_exp.preparing.checks import (
    check,
    check_least_squares,
    check_new_options,
    check_references,
)
from kan_exp.preparing.choices import flat_choices
from kan_exp.preparing.experiment import make_experiment
from kan_exp.preparing.groups import check_groups
from kan_exp.preparing.keys import asks_hydra, check_shared, rest_key, run_key, setting_key
from kan_exp.preparing.layers import search_path_override
from kan_exp.preparing.paths import absolute_arguments, use_absolute_paths
from kan_exp.preparing.stored_config import LAST, from_folder, unfinished

__all__ = [
    "LAST",
    "absolute_arguments",
    "asks_hydra",
    "check",
    "check_groups",
    "check_least_squares",
    "check_new_options",
    "check_references",
    "check_shared",
    "flat_choices",
    "from_folder",
    "make_experiment",
    "rest_key",
    "run_key",
    "search_path_override",
    "setting_key",
    "unfinished",
    "use_absolute_paths",
]
