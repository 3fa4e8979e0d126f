"""Kinds of KAN layers: pure torch, usable on their own in any `nn.Sequential`."""

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.interpo import KANInterpoLayer, smooth_penalty
from kan_exp.layers.mlp import KANLayer
from kan_exp.layers.network import find_layer, make_network

__all__ = [
    "EdgeLayer",
    "KANInterpoLayer",
    "KANLayer",
    "find_layer",
    "make_network",
    "smooth_penalty",
]
