"""What the tests of the training share: a small problem, a small model, a bare trainer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from kan_exp.data import SampledData
from kan_exp.layers import KANInterpoLayer, KANLayer, KANSplineLayer, LayerSpec, make_network
from kan_exp.models.model import KANModel
from kan_exp.targets import Target

OPTIONS = {
    KANInterpoLayer: {"num_x": 7, "x_min": -1.5, "x_max": 2.0},
    KANLayer: {"fcn_hidden": 4},
    KANSplineLayer: {"num_intervals": 5, "base": "silu"},
}


@pytest.fixture
def make_data():
    """Makes 40 training points of a function in a lopsided domain."""

    def make(num_train: int = 40, **changes) -> SampledData:
        options = {"formula": "exp(sin(pi*x) + y**2)", "domain": [[-1, 2], [0.5, 1]], **changes}
        return SampledData(Target(**options), num_train, 15, 15, seed=3)

    return make


@pytest.fixture
def make_model():
    """Makes the same small model every time it is asked to."""

    def make(data, dims=(2, 3, 1), layer=KANInterpoLayer, seed: int = 1) -> KANModel:
        generator = torch.Generator().manual_seed(seed)
        network = make_network(LayerSpec(layer, OPTIONS[layer]), dims, generator)
        return KANModel(network, data.scaling, data.schema)

    return make


@pytest.fixture
def make_trainer(tmp_path: Path, device: torch.device):
    """Makes a silent trainer on one device, as those of conf/trainer do."""

    def make(max_steps: int, **changes) -> Trainer:
        if device.type in ("cpu", "cuda"):
            place = {"accelerator": device.type, "devices": 1}
        else:
            from tests.standin import Strategy

            place = {"strategy": Strategy()}
        options = {
            **place,
            "max_steps": max_steps,
            "max_epochs": -1,
            "log_every_n_steps": 1,
            "num_sanity_val_steps": 0,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "logger": False,
            "default_root_dir": tmp_path,
            **changes,
        }
        return Trainer(**options)

    return make
