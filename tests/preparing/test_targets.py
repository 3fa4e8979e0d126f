"""A run's folder that someone else has made cannot make the program call what they like."""

from __future__ import annotations

import pytest

from kan_exp.errors import KanExpError
from kan_exp.preparing.targets import check_targets

HARMFUL = [
    "os.system",
    "builtins.exec",
    "subprocess.Popen",
    "kan_exp.cli.os.system",
    "kan_exp.data.base.hashlib.sha256",
    "kan_exp.data.check_whole",
    "kan_exp.layers.find_layer",
    "torch.load",
    "torch.optim.Adam.load_state_dict",
    "torch.hub.load",
    "lightning.pytorch.loggers.WandbLogger",
    "lightning.pytorch.Trainer.__init__",
    "lightning.pytorch.cli.LightningCLI",
    "my_lab.MyLayer",
    "torchxoptim.Adam",
    "",
    7,
]


@pytest.mark.parametrize("target", HARMFUL)
def test_what_is_not_ours_is_not_called(target):
    config = {"trainer": {"plugins": [{"deep": {"_target_": target, "command": "x"}}]}}
    with pytest.raises(KanExpError, match="it would call") as caught:
        check_targets(config, [])
    assert str(caught.value).startswith("trainer.plugins.0.deep: ")


@pytest.mark.parametrize(
    "text",
    [
        "${oc.decode:'{_target_: os.system}'}",
        "${oc.create:${layer}}",
        "a ${seed} ${oc.dict.values:x}",
        "${${oc.env:X}}",
    ],
)
def test_nothing_is_called_through_a_reference(text):
    with pytest.raises(KanExpError, match="more than a reference"):
        check_targets({"layer": {"options": [text]}}, [])
    with pytest.raises(KanExpError, match="it would call"):
        check_targets({"layer": {"_target_": "${name}"}, "name": "os.system"}, [])


def test_a_users_own_class_is_called_if_its_module_is_named():
    config = {"layer": {"_target_": "my_lab.layers.MyLayer"}}
    check_targets(config, ["my_lab"])
    check_targets(config, ["other", "my_lab.layers"])
    for named in ("my", "my_lab.layers.MyLayer", "lab"):
        with pytest.raises(KanExpError, match=r"modules=\[my_lab\.layers\]"):
            check_targets(config, [named])
