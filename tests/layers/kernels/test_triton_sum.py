"""The kernels for GPUs against the definition: on a GPU, or else in Triton's interpreter."""

from __future__ import annotations

import importlib
import math
import subprocess
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, jvp, vmap

from kan_exp.layers import KANSplineLayer
from kan_exp.layers.kernels import Grid, interval_polynomials, kernel_name, triton_sum
from kan_exp.layers.kernels.spline_sum import _defined, _operator, spline_sum
from tests.conftest import WITH_TORCH, finish, start

pytest.importorskip("triton", reason="Triton is not installed: no kernels for GPUs are tested")

# Batch, inputs, rows less the degree, outputs, degree; replicas or 0 for a single network.
SIZES = {
    "linear": (50, 3, 6, 5, 1, 0),
    "quadratic": (33, 9, 5, 7, 2, 0),
    "cubic": (100, 2, 8, 20, 3, 0),
    "quartic": (17, 5, 3, 16, 4, 0),
    "quintic": (70, 1, 12, 3, 5, 0),
    "one cell": (40, 2, 1, 3, 5, 0),
    "one sample": (1, 4, 90, 3, 1, 0),
    "one output": (300, 2, 20, 1, 1, 0),
    "many outputs": (5, 2, 4, 300, 3, 0),
    "sorted": (150, 2, 40, 6, 3, 0),
    "thousands of cells": (40, 1, 2000, 3, 2, 0),
    "replicas": (30, 3, 6, 2, 1, 4),
    "sorted replicas": (25, 2, 50, 3, 3, 2),
}
EACH = pytest.mark.parametrize("name", SIZES)


@pytest.fixture(autouse=True)
def _kernels(device, monkeypatch):
    """Kernels run where the tests' tensors are."""
    if device.type == "standin":
        pytest.skip("Triton knows no such device")
    if device.type == "cpu":
        monkeypatch.setattr(triton_sum, "takes", lambda x: x.dtype in triton_sum.REALS)
        # Each program, and each turn of a loop, takes long in the interpreter.
        large = {"PROGRAMS": 2, "SAMPLES": 64, "PRODUCT_SAMPLES": 128, "ROWS": 32}
        for constant, value in large.items():
            monkeypatch.setattr(triton_sum, constant, value)
        triton_sum._kernels.cache_clear()
        yield
        triton_sum._kernels.cache_clear()
    else:
        yield


def problem(
    name: str, device: torch.device, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Grid]:
    """Irregular samples, a fifth of them outside, some on knots; a table of noise; its grid."""
    batch, dim_in, cells, dim_out, degree, replicas = SIZES[name]
    draw = torch.Generator().manual_seed(7)
    many = max(1, replicas)
    first = torch.linspace(-2, 3, many * dim_in).view(many, 1, dim_in)
    spacing = torch.linspace(0.5, 0.25, many * dim_in).view(many, 1, dim_in).round(decimals=3)
    places = cells * torch.rand(many, batch, dim_in, generator=draw)
    places[:, ::5] = 3 * places[:, ::5] - cells
    places[:, 1::7] = places[:, 1::7].round()
    table = torch.randn(many, dim_in, cells + degree, dim_out, generator=draw)
    tensors = first + places * spacing, table, first.squeeze(1), spacing.squeeze(1)
    x, table, first, spacing = (
        (part if replicas else part[0]).to(device, dtype) for part in tensors
    )
    return x, table, Grid(first, spacing, interval_polynomials(degree).to(first))


def weights_of(total: Tensor) -> Tensor:
    """A gradient of something by the sums, exact in every type."""
    return torch.randn(total.shape, generator=torch.Generator().manual_seed(9)).bfloat16().to(total)


def sums_and_gradients(function, x: Tensor, table: Tensor, grid: Grid) -> list[Tensor]:
    parts = x.clone().requires_grad_(), table.clone().requires_grad_()
    total = function(*parts, grid)
    weight = weights_of(total)
    return [total.detach(), *torch.autograd.grad(total, parts, weight)]


def assert_alike(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        scale = theirs.abs().nan_to_num(0).max().clamp(min=1)
        torch.testing.assert_close(
            ours.to(theirs) / scale, theirs / scale, rtol=0, atol=tolerance, equal_nan=True
        )


@EACH
def test_sums_and_gradients_are_those_of_the_definition(name, device):
    made = problem(name, device)
    assert kernel_name(made[0]) == "triton"
    found = sums_and_gradients(spline_sum, *made)
    # In the same type: a sample on a knot of a table has the slope of one side or the other.
    assert_alike(found, sums_and_gradients(_defined, *made), 3e-6)


@pytest.mark.parametrize("name", ["cubic", "sorted", "replicas"])
def test_float64_is_exact(name, device):
    made = problem(name, device, torch.float64)
    found = sums_and_gradients(spline_sum, *made)
    assert found[0].dtype == torch.float64
    assert_alike(found, sums_and_gradients(_defined, *made), 1e-13)


@pytest.mark.parametrize("name", ["cubic", "sorted"])
def test_bfloat16_is_added_up_in_float32(name, device):
    """What comes out has the error of its last digit, which the interpreter cuts off."""
    made = problem(name, device, torch.bfloat16)
    found = sums_and_gradients(spline_sum, *made)
    assert all(part.dtype == torch.bfloat16 for part in found)
    exact = [part.double() for part in made[:2]]
    grid = Grid(*(part.double() for part in made[2]))
    assert_alike(found, sums_and_gradients(_defined, *exact, grid), 2**-7)


@pytest.mark.parametrize(("name", "wanted"), [("linear", 0), ("sorted", 1)])
def test_one_gradient_alone(name, wanted, device):
    x, table, grid = problem(name, device)
    expected = sums_and_gradients(spline_sum, x, table, grid)[1 + wanted]
    (x, table)[wanted].requires_grad_()
    total = spline_sum(x, table, grid)
    weight = weights_of(total)
    (found,) = torch.autograd.grad(total, (x, table)[wanted], weight)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["cubic", "sorted replicas"])
def test_nan_and_far_away_samples(name, device):
    x, table, grid = problem(name, device)
    x[..., 2, -1], x[..., 3, 0], x[..., 4, 0] = math.nan, 1e6, -1e6
    found = sums_and_gradients(spline_sum, x, table, grid)
    assert found[0][..., 2, :].isnan().all()
    assert found[0].isnan().sum() == found[0][..., 2, :].numel()
    assert_alike(found, sums_and_gradients(_defined, x, table, grid), 1e-5)


@pytest.mark.parametrize("name", ["cubic", "sorted replicas"])
def test_no_samples_give_no_values_and_zero_gradients(name, device):
    x, table, grid = problem(name, device)
    total, by_x, by_table = sums_and_gradients(spline_sum, x[..., :0, :], table, grid)
    assert total.numel() == 0
    assert by_x.numel() == 0
    assert by_table.shape == table.shape
    assert not by_table.any()


def test_tensors_in_any_memory_layout(device):
    x, table, grid = problem("sorted", device)
    expected = sums_and_gradients(spline_sum, x, table, grid)
    turned = table.transpose(0, 2).contiguous().transpose(0, 2)
    found = sums_and_gradients(spline_sum, x.T.contiguous().T, turned, grid)
    assert all(map(torch.equal, found, expected))


def test_the_gradient_is_the_same_in_one_part_and_in_several(device, monkeypatch):
    made = problem("sorted", device)
    one = sums_and_gradients(spline_sum, *made)
    assert all(map(torch.equal, one, sums_and_gradients(spline_sum, *made)))
    monkeypatch.setattr(triton_sum, "PROGRAMS", 30)
    monkeypatch.setattr(triton_sum, "PRODUCT_SAMPLES", 16)
    assert_alike(sums_and_gradients(spline_sum, *made), one, 1e-6)


def test_second_derivatives_and_transforms_are_those_of_the_definition(device):
    x, table, grid = problem("cubic", device, torch.float64)
    found = []
    for function in (spline_sum, _defined):
        parts = x.clone().requires_grad_(), table.clone().requires_grad_()
        slopes = torch.autograd.grad(
            function(*parts, grid).square().sum(), parts, create_graph=True
        )
        second = torch.autograd.grad(slopes[0].sin().sum() + slopes[1].sin().sum(), parts)
        one = lambda sample, f=function: f(sample[None], table, grid)[0]  # noqa: E731
        along = jvp(lambda x, f=function: f(x, table, grid), (x,), (torch.ones_like(x),))
        found.append([*slopes, *second, vmap(jacrev(one))(x), *along])
    assert_alike(*found, 1e-12)


def test_the_operator_of_compiled_programs_keeps_the_rules(device):
    """Its shapes without numbers are right, and its gradients."""
    x, table, grid = problem("replicas", device)
    x = x[..., :5, :].contiguous()
    inputs = x.requires_grad_(), table.requires_grad_(), *grid
    rules = "test_schema", "test_faketensor", "test_autograd_registration"
    torch.library.opcheck(_operator, inputs, test_utils=rules)
    found = sums_and_gradients(lambda x, table, grid: _operator(x, table, *grid), *inputs[:2], grid)
    expected = sums_and_gradients(spline_sum, *inputs[:2], grid)
    assert all(map(torch.equal, found, expected))


def test_an_exported_layer_calls_the_operator(device, monkeypatch):
    monkeypatch.setattr(importlib.import_module(spline_sum.__module__), "GPUS", (device.type,))
    layer = KANSplineLayer(3, 4, num_intervals=5).to(device)
    x = torch.linspace(-1, 1, 15, device=device).view(5, 3)
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert names == ["kan_exp.spline_sum.default"]
    assert torch.equal(program.module()(x[:2]), layer(x[:2]))


KERNELS_COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from kan_exp.layers.kernels import triton_kernels
from kan_exp.layers.kernels.triton_sum import _polynomials

CONSTANTS = {"F": 2, "POLYNOMIALS": _polynomials(2), "SAMPLES": 32, "OUTPUTS": 16, "INPUTS": 1}
WHOLE = ("batch", "inputs", "rows", "outputs", "replicas", "parts", "count")
INDICES = {"order": "*i64", "starts": "*i32", "cells": "*i16"}
for name, reals in (
    ("forward", ["fp32"]),
    ("backward_x", ["fp32"]),
    ("find_cells", ["fp32"]),
    ("backward_table", ["fp32", "fp64"]),
):
    for real in reals:
        kernel = getattr(triton_kernels, name)
        precision = "tf32x3" if real == "fp32" else "ieee"
        own = {**CONSTANTS, "ROWS": 16, "SORTED": True, "PRECISION": precision}
        own = {key: value for key, value in own.items() if key in kernel.arg_names}
        kinds = {
            key: "constexpr" if key in own else "i32" if key in WHOLE else
            INDICES.get(key, f"*{real}") for key in kernel.arg_names
        }
        source = triton.compiler.ASTSource(kernel, kinds, constexprs=own)
        made = triton.compile(source, target=GPUTarget("cuda", 80, 32))
        print(name, real, len(made.asm["cubin"]) > 0)
"""


@pytest.mark.skipif(torch.version.hip is not None, reason="compiles for other devices")
def test_kernels_compile_for_a_gpu(tmp_path):
    """The interpreter takes what the compiler does not."""
    variables = {"TRITON_CACHE_DIR": str(tmp_path), "TRITON_DEFAULT_FP_FUSION": "1"}
    done = finish(start("-c", KERNELS_COMPILE, cwd=tmp_path, server=WITH_TORCH, **variables))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("True") == 5


@pytest.mark.parametrize(
    ("version", "reason"), [("3.5.1", "Triton 3.5.1 is older than 3.6"), (None, "no triton here")]
)
def test_without_triton_one_line_says_what_is_slower(version, reason, monkeypatch, caplog):
    def import_module(name):
        if version is None:
            raise ImportError("no triton here")
        return SimpleNamespace(__version__=version)

    monkeypatch.setattr(triton_sum, "import_module", import_module)
    triton_sum._kernels.cache_clear()
    with caplog.at_level("INFO"):
        assert triton_sum._kernels() is None
        assert triton_sum._kernels() is None
    (line,) = caplog.messages
    assert reason in line


@pytest.mark.parametrize(
    "error",
    [RuntimeError("no C compiler\nmore"), subprocess.CalledProcessError(1, "no C compiler")],
    ids=lambda error: type(error).__name__,
)
def test_a_triton_that_cannot_start_kernels_is_told_once(error, monkeypatch, caplog):
    def forward(*args):
        raise error

    monkeypatch.setattr(triton_sum, "forward", forward)
    monkeypatch.setattr(torch.version, "cuda", "13")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    triton_sum._works.cache_clear()
    with caplog.at_level("INFO"):
        assert not triton_sum._works(torch.device("cpu"))
        assert not triton_sum._works(torch.device("cpu"))
    triton_sum._works.cache_clear()
    (line,) = caplog.messages
    assert "no C compiler" in line
    assert "\n" not in line


def test_a_device_runs_kernels(device, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    triton_sum._works.cache_clear()
    assert triton_sum._works(device)
    triton_sum._works.cache_clear()
