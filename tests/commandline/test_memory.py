"""Memory that does not suffice is explained in one line."""

import numpy as np
import pytest
import torch

from kan_exp.cli import is_user_error
from kan_exp.commandline.explain import one_line

HUGE = 2**58


@pytest.mark.parametrize(
    ("allocate", "amount"),
    [
        (lambda: torch.empty(HUGE, dtype=torch.int8), "288230376151711744 bytes"),
        (lambda: torch.empty(HUGE, HUGE), ""),
        (lambda: np.empty(HUGE, dtype=np.int8), "256. PiB"),
        (lambda: bytearray(HUGE), ""),
    ],
    ids=["torch", "product", "numpy", "python"],
)
def test_memory_that_does_not_suffice_is_one_line(allocate, amount):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert is_user_error(caught.value)
    wanted = f" for {amount} more" if amount else ""
    assert one_line(caught.value) == (
        f"not enough memory{wanted}: lower dims, options of the layer, points or batch_size."
    )


def test_memory_of_a_gpu_is_one_line():
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ...")
    assert is_user_error(error)
    assert one_line(error).startswith("not enough memory for 2.50 GiB more: lower dims")


def test_other_faults_of_torch_are_not():
    assert not is_user_error(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
