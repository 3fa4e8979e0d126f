"""The bench for experiments with Kolmogorov-Arnold networks.

`python -m kan_exp.train` trains one, and `kan_exp.load(folder)` brings it back; `kan_exp.fit(X, y)`
trains one in memory, and `kan_exp.sklearn` has estimators; `kan_exp.explain(X, y)` finds a formula;
`kan_exp.layers` are plain torch modules to build with.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kan_exp.fitting.formula import formula_network
    from kan_exp.fitting.model import FittedModel, load
    from kan_exp.fitting.training import fit
    from kan_exp.symbolic.explaining import explain

__version__ = "0.1.0"
__all__ = ["FittedModel", "__version__", "explain", "fit", "formula_network", "load"]

_MODULES = {
    "FittedModel": "fitting.model",
    "explain": "symbolic.explaining",
    "fit": "fitting.training",
    "formula_network": "fitting.formula",
    "load": "fitting.model",
}


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import, which `--help` must not wait for.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class _Package(ModuleType):
    def __setattr__(self, name: str, value: Any) -> None:
        # Importing the command `kan_exp.explain` must not take the function of this name away.
        if not (name in _MODULES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _say_interrupted(kind: Any, error: Any, trace: Any) -> None:
    """Shows Ctrl-C in a word, and any other exception as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Interrupted.\n")
    else:
        sys.__excepthook__(kind, error, trace)


# While `python -m kan_exp.<command>` is still importing, which can take seconds.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = _say_interrupted
