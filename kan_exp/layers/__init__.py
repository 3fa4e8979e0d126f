"""Kinds of KAN layers: pure torch, usable on their own in any `nn.Sequential`.

Each part is imported, and torch with it, when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kan_exp.lazy import attach

if TYPE_CHECKING:
    from kan_exp.layers.base import EdgeLayer as EdgeLayer
    from kan_exp.layers.base import WholeBatch as WholeBatch
    from kan_exp.layers.basis import BasisLayer as BasisLayer
    from kan_exp.layers.chebyshev import KANChebyshevLayer as KANChebyshevLayer
    from kan_exp.layers.fourier import KANFourierLayer as KANFourierLayer
    from kan_exp.layers.grid import GridLayer as GridLayer
    from kan_exp.layers.interpo import KANInterpoLayer as KANInterpoLayer
    from kan_exp.layers.interpo import smooth_penalty as smooth_penalty
    from kan_exp.layers.linear import KANLinearLayer as KANLinearLayer
    from kan_exp.layers.mlp import KANLayer as KANLayer
    from kan_exp.layers.named import KANNamedLayer as KANNamedLayer
    from kan_exp.layers.network import LayerSpec as LayerSpec
    from kan_exp.layers.network import find_layer as find_layer
    from kan_exp.layers.network import layer_path as layer_path
    from kan_exp.layers.network import make_network as make_network
    from kan_exp.layers.rational import KANRationalLayer as KANRationalLayer
    from kan_exp.layers.rbf import KANRBFLayer as KANRBFLayer
    from kan_exp.layers.spline import KANSplineLayer as KANSplineLayer
    from kan_exp.layers.stacking import over_replicas as over_replicas
    from kan_exp.layers.stacking import stack_networks as stack_networks
    from kan_exp.layers.tabulation import Tabulated as Tabulated
    from kan_exp.layers.tabulation import tabulate as tabulate

_EXPORTS = {
    "base": ("EdgeLayer", "WholeBatch"),
    "basis": ("BasisLayer",),
    "chebyshev": ("KANChebyshevLayer",),
    "fourier": ("KANFourierLayer",),
    "grid": ("GridLayer",),
    "interpo": ("KANInterpoLayer", "smooth_penalty"),
    "linear": ("KANLinearLayer",),
    "mlp": ("KANLayer",),
    "named": ("KANNamedLayer",),
    "network": ("LayerSpec", "find_layer", "layer_path", "make_network"),
    "rational": ("KANRationalLayer",),
    "rbf": ("KANRBFLayer",),
    "spline": ("KANSplineLayer",),
    "stacking": ("over_replicas", "stack_networks"),
    "tabulation": ("Tabulated", "tabulate"),
}
_MODULES = {name: module for module, names in _EXPORTS.items() for name in names}
__all__ = sorted(_MODULES)
__getattr__ = attach(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
