"""The README's examples run as they stand."""

import re

import pytest

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def test_the_commands_on_the_first_screen_are_what_ci_and_make_know():
    first = re.search(r"```\n(.*?)```", README, re.DOTALL)[1].split("\n")
    assert first[:2] == ["make train", "make test"]
    makefile = (ROOT / "Makefile").read_text()
    for target in ("train", "test"):
        assert re.search(rf"^{target}: ", makefile, re.MULTILINE)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_link_and_picture_is_there():
    for path in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / path.partition("#")[0]).exists(), path


def test_the_layers_example_runs():
    (example,) = (
        code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "nn." in code
    )
    names: dict[str, object] = {}
    exec(example, names)  # noqa: S102 - our own README
    assert names["y"].shape == (16, 1)


@pytest.mark.parametrize("name", ["KANLayer", "KANInterpoLayer"])
def test_the_seeds_own_examples_run(name):
    import torch
    from torch import nn

    import kan_exp.layers

    layer = getattr(kan_exp.layers, name)
    model = nn.Sequential(layer(2, 5), layer(5, 1))
    assert model(torch.randn(16, 2)).shape == (16, 1)
