"""Validations are spread evenly over a run, as many as were asked for, the last one at its end."""

from __future__ import annotations

import json
import math
from itertools import chain

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kan_exp.data import SampledData
from kan_exp.targets import Target
from kan_exp.train import prepare

RUNS = {
    "steps": st.integers(1, 200),
    "evaluations": st.integers(1, 60),
    "chunk": st.integers(1, 70),
    "batch": st.sampled_from([None, 1, 3, 7]),
}


def planned(steps, evaluations, chunk, batch, seed=0):
    data = SampledData(Target("x + 3*y"), 10, 3, 3, seed=0)
    data.plan(batch, steps, chunk, evaluations, torch.Generator().manual_seed(seed))
    return data


def passes(data):
    """The points of each step, pass by pass."""
    loader = data.train_dataloader()
    return list(iter(lambda: [x.tolist() for chunk in loader for x in chunk.x], []))


@settings(deadline=None, derandomize=True, max_examples=60)
@given(**RUNS)
def test_each_pass_ends_at_the_step_nearest_to_its_share(steps, evaluations, chunk, batch):
    data = planned(steps, evaluations, chunk, batch)
    count = min(evaluations, steps)
    ends = [math.floor(k * steps / count + 0.5) for k in range(1, count + 1)]
    done, found = 0, []
    for one in passes(data):
        done += len(one)
        found.append(done)
    assert found == ends
    assert ends[-1] == steps
    shares = [data.share(step) for step in range(1, steps + 1)]
    assert [share for share in shares if share is not None] == [
        pytest.approx(k / count) for k in range(1, count + 1)
    ]
    assert [step for step, share in enumerate(shares, 1) if share is not None] == ends


@settings(deadline=None, derandomize=True, max_examples=60)
@given(**RUNS, cut=st.integers(0, 10**6))
def test_a_resumed_run_ends_its_passes_where_it_would_have(steps, evaluations, chunk, batch, cut):
    whole = passes(planned(steps, evaluations, chunk, batch))
    first = planned(steps, evaluations, chunk, batch)
    positions, drawn = [first.position(0)], 0
    for _ in range(min(evaluations, steps)):
        for part in first.train_dataloader():
            drawn += len(part.x)
            positions.append(first.position(drawn))
    position = positions[cut % len(positions)]
    second = planned(steps, evaluations, chunk, batch, seed=1)
    second.restore(position)
    rest = passes(second)
    done = position["steps"]
    assert list(chain(*rest)) == list(chain(*whole))[done:]
    ends, later = (
        [start + sum(map(len, parts[: k + 1])) for k in range(len(parts))]
        for start, parts in ((0, whole), (done, rest))
    )
    assert later == [end for end in ends if end > done]


@pytest.mark.parametrize("options", [["optimizer=adam"], ["optimizer=lm", "refine.steps=[10,21]"]])
def test_a_training_validates_as_often_as_it_should(tmp_path, options):
    small = ["layer=interpo", "dims=[2,1]", "points=50", "logger=none", "evaluations=30"]
    small += ["steps=31", "data.num_val=20", "data.num_test=20", "log_every_n_steps=7"]
    small += ["refine.num_candidates=[1]", "refine.grids=[4,8]", "~callbacks.figures"]
    tight = [f"optimizer.{name}_tolerance=0" for name in ("gradient", "step", "loss")]
    prepare([*options, *small, *(tight if "optimizer=lm" in options else [])], tmp_path).run()
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    validated = [step for step, _ in json.loads((tmp_path / "history.json").read_text())["val"]]
    ends = [math.floor(k * 31 / 30 + 0.5) for k in range(1, 31)]
    assert validated == [end for end in ends if end <= metrics["steps"]]
    if options == ["optimizer=adam"]:
        assert metrics["steps"] == 31
