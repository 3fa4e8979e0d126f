"""A target draws where it says, is exact there, and names the option to change when it is not."""

import math
import re
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from kan_exp.errors import KanExpError
from kan_exp.targets import Target

CONFIGS = sorted((Path(__file__).parents[2] / "conf" / "target").glob("*.yaml"))
KEYS = {"_target_", "formula", "inputs", "domain", "noise", "components"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def load(path: Path) -> Target:
    config = OmegaConf.load(path)
    if OmegaConf.is_missing(config, "formula"):
        config.formula = "sin(3*a)*b"
    return instantiate(config)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
class TestEveryConfig:
    def test_has_every_key_and_a_header(self, path):
        assert set(OmegaConf.load(path)) == KEYS
        assert path.read_text().startswith("# Teaches: ")
        assert "\n# Dims: " in path.read_text()

    def test_is_finite_and_not_constant_on_its_domain(self, path):
        target = load(path)
        y = target(target.sample(1000, generator()))
        assert y.shape == (1000, 1)
        assert y.isfinite().all()
        assert y.std() > 0.05
        assert y.abs().max() < 100

    def test_components_compose_to_the_formula(self, path):
        target = load(path)
        x = target.sample(1000, generator()).double()
        h = x
        for layer, values in zip(target.components, target.true_edges(x), strict=True):
            expected = [edge(h[:, i : i + 1]) for i, edge in enumerate(layer)]
            torch.testing.assert_close(values, torch.stack(expected, 1))
            h = torch.stack(expected, 1).sum(1, keepdim=True)
        if target.components:
            torch.testing.assert_close(h, target(x))

    @pytest.mark.parametrize("each", [False, True], ids=["one", "each"])
    def test_yields_to_the_command_line(self, path, each):
        pairs = [[0.25, 0.5]] * len(load(path).inputs)
        domain = str(pairs if each else pairs[0])
        overrides = [f"+target={path.stem}", "target.noise=0.25", f"target.domain={domain}"]
        if path.stem == "formula":
            overrides.append('target.formula="sin(3*a)*b"')
        with initialize_config_dir(str(path.parents[1]), version_base=None):
            target = instantiate(compose(overrides=overrides).target)
        assert target.noise == 0.25
        assert set(target.domain) == {(0.25, 0.5)}


def test_the_determinant_is_that_of_linear_algebra():
    (path,) = (path for path in CONFIGS if path.stem == "determinant")
    target = load(path)
    x = target.sample(500, generator())
    expected = torch.linalg.det(x.double().view(-1, 4, 4))
    torch.testing.assert_close(target(x).double()[:, 0], expected, rtol=0, atol=1e-7)


def test_values_agree_with_plain_python():
    target = Target("exp(sin(pi*x) + y**2)")
    x = target.sample(20, generator())
    expected = [[math.exp(math.sin(math.pi * a) + b**2)] for a, b in x.tolist()]
    torch.testing.assert_close(target(x), torch.tensor(expected))


def test_values_are_computed_in_float64():
    # In float32 the sum is 1e8 and the difference 0.
    assert Target("(1e8 + x) - 1e8")(torch.ones(1, 1)).item() == 1.0


@pytest.mark.parametrize(
    "domain",
    [[[-3, -2], [10, 20.5]], {"b": [10, 20.5], "a": [-3, -2]}, ((-3, -2), (10, 20.5))],
)
@pytest.mark.parametrize("wrap", [lambda domain: domain, OmegaConf.create], ids=["plain", "omega"])
def test_sample_fills_each_inputs_own_range(domain, wrap):
    target = Target("a*b", domain=wrap(domain))
    assert target.domain == ((-3.0, -2.0), (10.0, 20.5))
    x = target.sample(4000, generator())
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.amin(0), torch.tensor([-3.0, 10.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(x.amax(0), torch.tensor([-2.0, 20.5]), atol=0.02, rtol=0)
    torch.testing.assert_close(x.mean(0), torch.tensor([-2.5, 15.25]), atol=0.2, rtol=0)
    assert x.T.corrcoef()[0, 1].abs() < 0.05


def test_sample_depends_on_its_generator_alone():
    target = Target("a*b")
    torch.manual_seed(1)
    first = target.sample(5, generator(3))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(first, target.sample(5, generator(3)))
    assert not torch.equal(first, target.sample(5, generator(4)))
    assert torch.equal(state, torch.get_rng_state())


def test_a_value_that_is_not_finite_names_the_point_and_the_option():
    target = Target("log(x)*y", domain=[-1, 2])
    x = torch.tensor([[1.0, 1.0], [-0.123456, 0.5], [-1.0, 1.0]])
    with pytest.raises(KanExpError) as caught:
        target(x)
    assert str(caught.value) == (
        "target.formula 'log(x)*y' is nan at x=-0.1235, y=0.5: "
        "change target.domain, now [-1, 2], [-1, 2]."
    )


def test_overflow_of_single_precision_is_not_finite():
    with pytest.raises(KanExpError, match=r"is inf at x=100: change target\.domain"):
        Target("exp(x)", domain=[0, 100])(torch.tensor([[100.0]]))


def test_true_edges_feed_the_sum_forward():
    target = Target("exp(a + b**2)/2", ["b", "a"], components=[["b**2", "a"], ["exp(s)"], ["s/2"]])
    first, second, third = target.true_edges(torch.tensor([[2.0, -4.0], [1.0, 0.0]]))
    torch.testing.assert_close(first, torch.tensor([[4.0, -4.0], [1.0, 0.0]]))
    torch.testing.assert_close(second, torch.tensor([[1.0], [math.e]]))
    torch.testing.assert_close(third, torch.tensor([[0.5], [math.e / 2]]))


def test_unknown_components_give_no_edges():
    assert Target("x*y").true_edges(torch.rand(3, 2)) == []


def test_an_input_that_does_not_matter_has_a_constant_edge():
    target = Target("x**2", ["x", "y"], components=[["x**2", "0"]])
    (edges,) = target.true_edges(torch.tensor([[3.0, 5.0]]))
    assert edges.tolist() == [[9.0, 0.0]]


def test_components_of_another_formula_are_noticed():
    target = Target("x - y", components=[["x", "y"]])
    with pytest.raises(KanExpError, match=r"do not compose to target\.formula 'x - y'.*=null"):
        target.true_edges(torch.rand(3, 2))


WRONG = [
    ({"formula": "x^2"}, "target.formula 'x^2' has '^'"),
    ({"formula": None}, "target.formula must be text"),
    ({"inputs": ["x"]}, "target.formula 'x*y' uses 'y'"),
    ({"inputs": "xy"}, "target.inputs must be a list of names. Got 'xy'"),
    ({"inputs": ["x", "sin"]}, "target.inputs must be names that no function"),
    ({"domain": [1, -1]}, "target.domain must be two finite numbers, low < high, such as [-1, 1]."),
    ({"domain": [1, 1]}, "Got [1, 1] instead"),
    ({"domain": [0, math.inf]}, "target.domain must be two finite"),
    ({"domain": [math.nan, 1]}, "target.domain must be two finite"),
    ({"domain": [0, 10**400]}, "target.domain must be two finite"),
    ({"domain": [0, 1e39]}, "target.domain must be two finite"),
    ({"domain": [False, True]}, "target.domain must be two finite"),
    ({"domain": ["0", "1"]}, "Got ['0', '1'] instead"),
    ({"domain": "01"}, "Got '01' instead"),
    ({"domain": None}, "Got None instead"),
    ({"domain": 3}, "Got 3 instead"),
    ({"domain": []}, "Got [] instead"),
    ({"domain": [0, 1, 2]}, "Got [0, 1, 2] instead"),
    ({"domain": [[0, 1]]}, "one pair for each of the 2 inputs (x, y)"),
    ({"domain": [[0, 1], [2, 1]]}, "target.domain[1] must be two finite"),
    ({"domain": [[0, 1], 2]}, "target.domain[1] must be two finite"),
    ({"domain": {"x": [0, 1]}}, "but y is missing: add y: [-1, 1]"),
    ({"domain": {"x": [0, 1], "y": [0]}}, "target.domain.y must be two finite"),
    ({"domain": {"x": [0, 1], "y": [0, 1], "yy": [0, 1]}}, "a pair for 'yy'"),
    ({"noise": -0.1}, "target.noise must be a standard deviation"),
    ({"noise": math.nan}, "Got nan instead"),
    ({"noise": "0.1"}, "Got '0.1' instead"),
    ({"noise": True}, "Got True instead"),
    ({"noise": None}, "Got None instead"),
    ({"components": "x"}, "target.components must be null or a list of layers"),
    ({"components": ["x", "y"]}, "target.components must be null or a list of layers"),
    ({"components": [["x"]]}, "target.components[0] must have one formula for each input (x, y)"),
    ({"components": [["y", "x"]]}, "target.components[0][0] 'y' uses 'y', but its inputs are x"),
    ({"components": [["x", 3]]}, "target.components[0][1] must be text"),
    ({"components": [["x", "y"], ["h", "h"]]}, "target.components[1] must have one formula, of"),
    ({"components": [["x", "y"], ["h*k"]]}, "target.components[1][0] must be a formula of one"),
    ({"components": [["x", "y"], ["sinn(h)"]]}, "Did you mean 'sin'?"),
]


@pytest.mark.parametrize(("wrong", "fragment"), WRONG, ids=[str(wrong)[:40] for wrong, _ in WRONG])
def test_wrong_arguments_name_their_option(wrong, fragment):
    with pytest.raises(KanExpError, match=re.escape(fragment)) as caught:
        Target(**{"formula": "x*y", **wrong})
    assert str(caught.value).isprintable()
