"""Where a configuration trains: CUDA where there is one and it is wanted, never on MPS."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kan_exp.config import RunConfig, choice
from kan_exp.errors import KanExpError
from kan_exp.layers import KANSplineLayer
from kan_exp.preparing.devices import (
    SMALL_STEP,
    training_accelerator,
    training_device,
    with_fast_device,
)


def config(accelerator: str, devices=1, **options):
    trainer = choice("trainer", "cpu", accelerator=accelerator, devices=devices)
    return RunConfig(trainer=trainer, **options)


class Model(nn.Sequential):
    """A spline layer of 4 edges with 8 coefficients each."""

    def __init__(self) -> None:
        super().__init__(KANSplineLayer(2, 2, num_intervals=5))
        self.edge_layers = list(self)


@pytest.fixture
def cuda(monkeypatch):
    def there(answer: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: answer)

    return there


@pytest.mark.parametrize(
    ("asked", "there", "found"),
    [
        ("cpu", True, "cpu"),
        ("auto", True, "cuda"),
        ("auto", False, "cpu"),
        ("gpu", True, "cuda"),
        ("cuda", True, "cuda"),
    ],
)
def test_the_accelerator(cuda, asked, there, found):
    cuda(there)
    assert training_accelerator(config(asked)) == found
    assert training_device(config(asked)).type == found


ADAM = {"optimizer": choice("optimizer", "adam"), "batch_size": None}
LM = {"optimizer": choice("optimizer", "lm")}


@pytest.mark.parametrize(
    ("asked", "options", "rows", "numbers"),
    [
        ("auto", ADAM, 100, "400"),
        ("auto", ADAM, SMALL_STEP // 4 - 1, "1,048,572"),
        ("auto", ADAM, SMALL_STEP // 4, None),
        ("auto", {**ADAM, "batch_size": 1000}, SMALL_STEP, "4,000"),
        ("auto", {**ADAM, "replicas": 2}, SMALL_STEP // 8, None),
        ("auto", LM, 100, "25,600"),  # of 8 starts
        ("auto", LM, SMALL_STEP // 256, None),
        ("gpu", ADAM, 100, None),
        ("cpu", ADAM, 100, None),
    ],
)
def test_auto_takes_the_cpu_for_small_steps(cuda, asked, options, rows, numbers):
    """The numbers are samples times edges, or times parameters of all starts."""
    cuda(True)
    before = config(asked, **options)
    after, note = with_fast_device(before, Model(), rows)
    if numbers is None:
        assert after == before
        assert note is None
    else:
        assert training_accelerator(after) == "cpu"
        assert training_device(after).type == "cpu"
        assert f"({numbers} here); trainer=gpu takes the GPU." in note
    cuda(False)
    if asked == "auto":
        assert with_fast_device(before, Model(), rows) == (before, None)


def test_auto_on_a_mac_is_the_cpu_and_says_so(cuda, monkeypatch, caplog):
    cuda(False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with caplog.at_level("INFO"):
        assert training_accelerator(config("auto")) == "cpu"
    assert "MPS" in caplog.text


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("gpu", "trainer=gpu needs a GPU with CUDA, and torch finds none: set trainer=cpu"),
        ("mps", r"auto, cpu, gpu, cuda, got 'mps' \(which has no float64\): set trainer=auto"),
        ("tpu", "got 'tpu': set trainer=auto"),
    ],
)
def test_an_accelerator_that_cannot_be_is_refused(cuda, asked, message):
    cuda(False)
    with pytest.raises(KanExpError, match=message):
        training_accelerator(config(asked))


def test_memory_is_asked_of_the_device_that_is_named(cuda):
    cuda(True)
    assert training_device(config("gpu", [2])) == torch.device("cuda", 2)
    assert training_device(config("gpu")) == torch.device("cuda", 0)
