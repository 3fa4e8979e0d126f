"""The bench for experiments with Kolmogorov-Arnold networks.

`python -m kan_exp.train` trains one, and `kan_exp.load(folder)` brings it back; `kan_exp.fit(X, y)`
trains one in memory, and `kan_exp.sklearn` has estimators; `kan_exp.explain(X, y)` finds a formula;
`kan_exp.layers` are plain torch modules to build with.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kan_exp.fitting.model import load
    from kan_exp.fitting.training import fit
    from kan_exp.symbolic.explaining import explain

__version__ = "0.1.0"
__all__ = ["__version__", "explain", "fit", "load"]


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import, which `--help` must not wait for.
    if name == "load":
        from kan_exp.fitting.model import load

        return load
    if name == "fit":
        from kan_exp.fitting.training import fit

        return fit
    if name == "explain":
        from kan_exp.symbolic.explaining import explain

        return explain
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _say_interrupted(kind: Any, error: Any, trace: Any) -> None:
    """Shows Ctrl-C in a word, and any other exception as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("Interrupted.\n")
    else:
        sys.__excepthook__(kind, error, trace)


# While `python -m kan_exp.<command>` is still importing, which can take seconds.
if sys.argv[:1] == ["-m"]:
    sys.excepthook = _say_interrupted
