"""Where a configuration trains: CUDA where there is one and it is wanted, never on MPS."""

from __future__ import annotations

import pytest
import torch

from kan_exp.config import RunConfig, choice
from kan_exp.errors import KanExpError
from kan_exp.preparing.devices import training_accelerator, training_device


def config(accelerator: str, devices=1):
    trainer = choice("trainer", "cpu", accelerator=accelerator, devices=devices)
    return RunConfig(trainer=trainer)


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
