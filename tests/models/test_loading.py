"""What a run leaves behind comes back unchanged, and a strange file can do no harm."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback

import kan_exp
from kan_exp import load
from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.errors import DivergedError, KanExpError
from kan_exp.layers import (
    KANInterpoLayer,
    KANLayer,
    KANLinearLayer,
    KANRBFLayer,
    KANSplineLayer,
    LayerSpec,
    make_network,
)
from kan_exp.models.loading import describe_model, read_checkpoint
from kan_exp.models.model import KANModel
from kan_exp.training.callbacks import BestNetwork, RunCheckpoint
from kan_exp.training.module import KANModule
from tests.regression import TASK

SMALL = LayerSpec(KANInterpoLayer, {"num_x": 7, "x_min": -1.5, "x_max": 2.0})


def refusal(folder: Path | str) -> str:
    """The message of a refused folder, which is one line."""
    with pytest.raises(KanExpError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.isprintable()
    return message


def saved(folder: Path, content, name: str = "best") -> Path:
    (folder / "checkpoints").mkdir(exist_ok=True)
    torch.save(content, folder / "checkpoints" / f"{name}.ckpt")
    return folder


def checkpoint_of(model: KANModel, specs, data) -> dict:
    """A checkpoint as a run writes it, less what loading does not read."""
    weights = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    description = describe_model(specs, [2, 3, 1], data, TASK)
    return {"kan_exp": description, "state_dict": weights, "global_step": 1}


TABLE = LayerSpec(KANInterpoLayer, {"num_x": 9, "outside": "hold", "x_min": -1.0})
MLP = LayerSpec(KANLayer, {"fcn_hidden": 5, "fcn_n_sin": 2, "activation": "gelu"})
SPLINE = LayerSpec(KANSplineLayer, {"num_intervals": 3, "degree": 2, "base": "silu"})
LINEAR = LayerSpec(KANLinearLayer, {"activation": "tanh"})
RBF = LayerSpec(KANRBFLayer, {"num_centers": 4})


@pytest.mark.parametrize(
    ("specs", "dims"),
    [
        ([TABLE, TABLE], [2, 3, 1]),
        ([MLP, MLP, MLP], [2, 2, 2, 1]),
        ([LINEAR, LINEAR], [2, 6, 1]),
        ([SPLINE, MLP, RBF, TABLE], [2, 3, 2, 4, 1]),
    ],
    ids=["tables", "mlps", "linear", "mixed"],
)
def test_a_trained_network_comes_back_bit_for_bit(make_data, make_trainer, tmp_path, specs, dims):
    data = make_data()
    network = make_network(specs, dims, torch.Generator().manual_seed(0))
    model = KANModel(network, data.scaling, data.schema)
    description = describe_model(specs, dims, data, TASK)
    module = KANModule(model, TASK, torch.optim.Adam, None, {}, description)
    best = BestNetwork()
    keep = RunCheckpoint(tmp_path / "checkpoints", 0, best)
    trainer = make_trainer(4, callbacks=[best, keep], enable_checkpointing=True)
    data.plan(16, 4, 2, 1, torch.Generator().manual_seed(0))
    trainer.fit(module, datamodule=data)

    loaded = kan_exp.load(tmp_path)
    x = data.test.x
    assert torch.equal(loaded.predict(x), model.predict(x))
    assert not loaded.training
    assert (loaded.features, loaded.target_name) == (("x", "y"), "f")
    for found, trained, spec in zip(loaded.network, model.network, specs, strict=True):
        assert type(found) is spec.kind
        assert repr(found) == repr(trained)
        assert found.state_dict().keys() == trained.state_dict().keys()
        for name, part in trained.state_dict().items():
            assert torch.equal(found.state_dict()[name], part), name
    assert read_checkpoint(tmp_path)["global_step"] == 4
    assert torch.equal(load(str(tmp_path)).predict(x), model.predict(x))


def test_a_network_whose_grids_have_moved_comes_back(make_data, tmp_path):
    data = make_data()
    specs = [SPLINE, TABLE]
    network = make_network(specs, [2, 3, 1], torch.Generator().manual_seed(0))
    model = KANModel(network, data.scaling, data.schema)
    reaching = model.standardize(data.train.x)
    network[0].fit_domain(reaching)
    network[1].fit_domain(network[0](reaching), margin=0.1)
    loaded = load(saved(tmp_path, checkpoint_of(model, specs, data)))
    assert torch.equal(loaded.predict(data.test.x), model.predict(data.test.x))
    assert torch.equal(loaded.network[1].grid, network[1].grid)
    assert not torch.equal(network[1].grid[0], network[1].grid[1])


def test_masks_and_product_nodes_are_loaded_with_the_network(make_data, tmp_path):
    data, specs = make_data(), [SPLINE, MLP]
    network = make_network(specs, [2, 3, 1], torch.Generator().manual_seed(0))
    mask = torch.tensor([[True, False, True], [False, True, True]])
    network[0].set_mask(mask)
    network[0].node_operation = ["sum", "product", "sum"]
    model = KANModel(network, data.scaling, data.schema)
    loaded = load(saved(tmp_path, checkpoint_of(model, specs, data)))
    assert torch.equal(loaded.network[0].mask, mask)
    assert loaded.network[0].node_operation == ("sum", "product", "sum")
    assert loaded.network[1].mask is None
    assert loaded.network[1].node_operation == ("sum",)
    assert torch.equal(loaded.predict(data.test.x), model.predict(data.test.x))


def test_a_network_in_float64_comes_back_with_all_its_digits(make_data, tmp_path):
    data = make_data()
    network = make_network([SPLINE, MLP], [2, 3, 1], torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for part in network.parameters():
            part += 1e-9
    model = KANModel(network, data.scaling, data.schema)
    loaded = load(saved(tmp_path, checkpoint_of(model, [SPLINE, MLP], data)))
    for name, weight in network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[name], weight), name
    assert torch.equal(loaded.predict(data.test.x), model.predict(data.test.x))


def test_the_description_is_plain_and_names_every_layer(make_data):
    found = describe_model([SPLINE, MLP], [2, 3, 1], make_data(), TASK)
    assert found["layers"] == [
        {
            "kind": "kan_exp.layers.KANSplineLayer",
            "options": {"num_intervals": 3, "degree": 2, "base": "silu"},
        },
        {
            "kind": "kan_exp.layers.KANLayer",
            "options": {"fcn_hidden": 5, "fcn_n_sin": 2, "activation": "gelu"},
        },
    ]
    assert found["dims"] == [2, 3, 1]
    assert found["schema"] == {
        "inputs": [{"name": "x", "kind": "number"}, {"name": "y", "kind": "number"}],
        "outputs": [{"name": "f", "kind": "number"}],
    }
    assert json.loads(json.dumps(found)) == found


def test_the_start_is_kept_where_no_step_did_any_good(
    make_data, make_model, make_trainer, tmp_path
):
    """So that a run which diverges or is stopped at once still has a network to keep."""
    data = make_data()
    model = make_model(data)
    x = data.test.x
    start = model.predict(x)
    description = describe_model([SMALL, SMALL], [2, 3, 1], data, TASK)

    class Diverge(Callback):
        def on_train_batch_end(self, *_) -> None:
            raise DivergedError("told by the run")

    best = BestNetwork()
    keep = RunCheckpoint(tmp_path / "checkpoints", 1e9, best)
    data.plan(16, 1, 1, 1, torch.Generator().manual_seed(0))
    trainer = make_trainer(1, callbacks=[best, keep, Diverge()], enable_checkpointing=True)
    module = KANModule(model, TASK, torch.optim.Adam, None, {}, description)
    with pytest.raises(DivergedError):
        trainer.fit(module, datamodule=data)
    assert torch.equal(load(tmp_path).predict(x), start)
    assert not torch.equal(module.model.predict(x), start)


def content(make_data, make_model) -> dict:
    """The checkpoint of a small network."""
    data = make_data()
    return checkpoint_of(make_model(data), [SMALL, SMALL], data)


def renamed(description_content: dict, **changes) -> dict:
    """The same checkpoint with another second layer."""
    description_content["kan_exp"]["layers"][1].update(changes)
    return description_content


def test_the_scaling_comes_from_the_checkpoint(make_data, make_model, tmp_path):
    expected = make_data().scaling
    model = load(saved(tmp_path, content(make_data, make_model)))
    for name in Scaling._fields:
        assert torch.equal(getattr(model, name), getattr(expected, name))


def test_the_best_checkpoint_goes_before_the_last(make_data, make_model, tmp_path):
    best, last = content(make_data, make_model), content(make_data, make_model)
    best["state_dict"]["model.y_mean"] = torch.tensor([123.0])
    saved(tmp_path, last, "last")
    assert load(tmp_path).y_mean.item() != 123
    saved(tmp_path, best, "best")
    assert load(tmp_path).y_mean.item() == 123


# What cannot be loaded


def test_a_missing_folder_is_told(tmp_path):
    assert refusal(tmp_path / "none") == f"{tmp_path / 'none'}: there is no such folder of a run."
    file = tmp_path / "file"
    file.touch()
    assert refusal(file).startswith(f"{file} is a file: name the folder of a run")


def test_a_folder_without_checkpoint_is_told(tmp_path):
    assert refusal(tmp_path).startswith(f"{tmp_path}: holds no run")
    (tmp_path / "status.json").touch()
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: no checkpoint found there")
    assert "checkpoints/best.ckpt" in message


@pytest.mark.parametrize("junk", [b"", b"junk", b"PK\x03\x04" + bytes(50), bytes(range(256))])
def test_a_file_that_is_no_checkpoint_is_told(tmp_path, junk):
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints" / "best.ckpt"
    path.write_bytes(junk)
    assert refusal(tmp_path).startswith(f"{path}: not a checkpoint of kan_exp (")


@pytest.mark.parametrize("other", [{"state_dict": {}}, {"kan_exp": {}}, [1, 2], torch.zeros(3)])
def test_another_programs_checkpoint_is_told(tmp_path, other):
    assert "not a checkpoint of kan_exp" in refusal(saved(tmp_path, other))


class Harm:
    """What unpickling without care would run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return Path.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_cannot_run_code(make_data, make_model, tmp_path, zipped):
    trace = tmp_path / "trace"
    path = tmp_path / "checkpoints" / "best.ckpt"
    path.parent.mkdir()
    thing = {**content(make_data, make_model), "extra": Harm(trace)}
    torch.save(thing, path, _use_new_zipfile_serialization=zipped)
    message = refusal(tmp_path)
    assert not trace.exists()
    assert message.startswith(f"{path}: not a checkpoint of kan_exp (")
    assert "options" not in message  # torch's advice is to load it all the same
    torch.load(path, weights_only=False)  # it would have done harm
    assert trace.exists()


@pytest.mark.parametrize(
    "layer",
    ["os.system", "kan_exp.layers.find_layer", "kan_exp.layers.EdgeLayer", "torch.nn.Linear"],
)
def test_a_checkpoint_cannot_name_anything_but_a_layer(make_data, make_model, tmp_path, layer):
    changed = renamed(content(make_data, make_model), kind=layer)
    message = refusal(saved(tmp_path, changed))
    assert f": layer '{layer}' is no " in message


def test_a_layer_of_the_users_own_asks_for_its_module(make_data, make_model, tmp_path):
    changed = renamed(content(make_data, make_model), kind="my_lab.MyLayer")
    message = refusal(saved(tmp_path, changed))
    assert "modules=[my_lab]" in message


@pytest.mark.parametrize("change", ["dims", "options"])
def test_weights_that_do_not_fit_are_told(make_data, make_model, tmp_path, change):
    changed = content(make_data, make_model)
    if change == "dims":
        changed["kan_exp"]["dims"] = [2, 4, 1]
    else:
        renamed(changed, options={"num_x": 8})
    message = refusal(saved(tmp_path, changed))
    assert "the checkpoint does not fit its layer" in message
    assert "size mismatch" in message


def test_a_pickle_of_another_kind_is_refused_without_a_warning(tmp_path):
    # Warnings are errors here, and would be more than the one line on a terminal.
    (tmp_path / "checkpoints").mkdir()
    content = pickle.dumps({"kan_exp": os.system}, protocol=4)
    (tmp_path / "checkpoints" / "best.ckpt").write_bytes(content)
    with pytest.raises(KanExpError, match="not a checkpoint of kan_exp") as caught:
        read_checkpoint(tmp_path)
    assert "UserWarning" not in str(caught.value)
    assert "more than numbers and plain containers" in str(caught.value)


def _with(part, name, value):
    def change(checkpoint):
        checkpoint[part][name] = value

    return change


def _each_weight(make):
    def change(checkpoint):
        weights = checkpoint["state_dict"]
        weights.update({name: make(weight) for name, weight in weights.items()})

    return change


DAMAGED = {
    "layers": _with("kan_exp", "layers", 5),
    "no kind": _with("kan_exp", "layers", [{}]),
    "kind": _with("kan_exp", "layers", [{"kind": 5, "options": {}}]),
    "options": _with("kan_exp", "layers", [{"kind": "kan_exp.layers.KANLayer", "options": 5}]),
    "dims": _with("kan_exp", "dims", "21"),
    "widths": _with("kan_exp", "dims", [2.5, 1]),
    "beyond memory": _with("kan_exp", "dims", [2, 10**12]),
    "features": _with("kan_exp", "features", 5),
    "schema": _with("kan_exp", "schema", {"inputs": 5, "outputs": []}),
    "no weights": _with("state_dict", "model.x_mean", None),
    "texts": _each_weight(str),
    "complex": _each_weight(lambda weight: weight.to(torch.complex64)),
    "whole": _each_weight(lambda weight: weight.int()),
    "one number": _each_weight(lambda weight: weight.reshape(-1)[:1]),
}


@pytest.mark.parametrize("change", DAMAGED.values(), ids=DAMAGED)
def test_a_checkpoint_of_another_shape_is_refused_in_one_line(tmp_path, change):
    model = KANModel(
        make_network([SMALL], [2, 1]),
        Scaling(torch.zeros(2), torch.ones(2), torch.zeros(1), torch.ones(1)),
        Schema.of_numbers("ab", "y"),
    )
    layers = [{"kind": "kan_exp.layers.KANInterpoLayer", "options": dict(SMALL.options)}]
    described = {"layers": layers, "dims": [2, 1], "features": ["a", "b"], "target": "y"}
    weights = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    checkpoint = {"kan_exp": described, "state_dict": weights}
    (tmp_path / "checkpoints").mkdir()
    torch.save(checkpoint, tmp_path / "checkpoints" / "best.ckpt")
    assert load(tmp_path).features == ("a", "b")
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(KanExpError, match="checkpoint") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
