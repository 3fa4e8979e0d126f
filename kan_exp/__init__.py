"""The bench for experiments with Kolmogorov-Arnold networks.

`python -m kan_exp.train` trains one; `kan_exp.load(folder)` brings it back; `kan_exp.layers` are
plain torch modules to build with.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kan_exp.models.loading import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Torch takes seconds to import, which `--help` must not wait for.
    if name == "load":
        from kan_exp.models.loading import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
