"""Kinds of KAN layers: pure torch, usable on their own in any `nn.Sequential`.

Each part is imported, and torch with it, when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kan_exp.lazy import attach

if TYPE_CHECKING:
    from kan_exp.layers.base import EdgeLayer, WholeBatch
    from kan_exp.layers.basis import BasisLayer
    from kan_exp.layers.chebyshev import KANChebyshevLayer
    from kan_exp.layers.fourier import KANFourierLayer
    from kan_exp.layers.grid import GridLayer
    from kan_exp.layers.interpo import KANInterpoLayer, smooth_penalty
    from kan_exp.layers.linear import KANLinearLayer
    from kan_exp.layers.mlp import KANLayer
    from kan_exp.layers.network import LayerSpec, find_layer, layer_path, make_network
    from kan_exp.layers.rational import KANRationalLayer
    from kan_exp.layers.rbf import KANRBFLayer
    from kan_exp.layers.spline import KANSplineLayer
    from kan_exp.layers.stacking import over_replicas, stack_networks
    from kan_exp.layers.tabulation import Tabulated, tabulate

__all__ = [
    "BasisLayer",
    "EdgeLayer",
    "GridLayer",
    "KANChebyshevLayer",
    "KANFourierLayer",
    "KANInterpoLayer",
    "KANLayer",
    "KANLinearLayer",
    "KANRBFLayer",
    "KANRationalLayer",
    "KANSplineLayer",
    "LayerSpec",
    "Tabulated",
    "WholeBatch",
    "find_layer",
    "layer_path",
    "make_network",
    "over_replicas",
    "smooth_penalty",
    "stack_networks",
    "tabulate",
]

_MODULES = {
    "BasisLayer": "basis",
    "EdgeLayer": "base",
    "GridLayer": "grid",
    "KANChebyshevLayer": "chebyshev",
    "KANFourierLayer": "fourier",
    "KANInterpoLayer": "interpo",
    "KANLayer": "mlp",
    "KANLinearLayer": "linear",
    "KANRBFLayer": "rbf",
    "KANRationalLayer": "rational",
    "KANSplineLayer": "spline",
    "LayerSpec": "network",
    "Tabulated": "tabulation",
    "WholeBatch": "base",
    "find_layer": "network",
    "layer_path": "network",
    "make_network": "network",
    "over_replicas": "stacking",
    "smooth_penalty": "interpo",
    "stack_networks": "stacking",
    "tabulate": "tabulation",
}


__getattr__ = attach(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
