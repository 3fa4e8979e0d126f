"""Kinds of KAN layers: pure torch, usable on their own in any `nn.Sequential`."""

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
from kan_exp.layers.tabulate import Tabulated, tabulate

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
