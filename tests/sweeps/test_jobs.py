"""Which jobs a sweep has, and which of them are trained together."""

import itertools

import pytest
from hydra import compose, initialize_config_dir

from kan_exp.cli import store_schema
from kan_exp.config import TrainConfig, config_folder
from kan_exp.sweeps.jobs import make_job_group, make_job_groups, number_of, plan_jobs


@pytest.fixture(scope="module")
def plan():
    """Jobs of all combinations of lists of overrides."""
    store_schema("train_schema", TrainConfig)

    def jobs(*swept):
        combinations = [list(texts) for texts in itertools.product(*swept)]
        return plan_jobs(combinations, lambda overrides: compose("train", list(overrides)))

    with initialize_config_dir(config_folder(), version_base="1.3"):
        yield jobs


def seeds(*values):
    return [f"seed={value}" for value in values]


def members(groups):
    return [[job.number for job in group.jobs] for group in groups]


def test_seeds_of_the_same_experiment_are_stacked(plan, tmp_path):
    jobs = plan(["layer=mlp", "layer=interpo"], ["optimizer=adam"], seeds(0, 1, 2))
    groups = make_job_groups(jobs, tmp_path, most=64)
    assert members(groups) == [[0, 1, 2], [3, 4, 5]]
    assert groups[1].overrides == [
        "layer=interpo",
        "optimizer=adam",
        "seed=0",
        "replicas=3",
        f"hydra.sweep.subdir='{groups[1].folder.name}'",
    ]
    assert groups[1].name == "layer=interpo seed=0..2"


def test_only_consecutive_seeds_are_since_replica_k_has_seed_plus_k(plan, tmp_path):
    jobs = plan(["optimizer=sgd"], seeds(7, 0, 1, 3, 2, 9))
    groups = make_job_groups(jobs, tmp_path, most=3)
    found = sorted([job.seed for job in group.jobs] for group in groups)
    assert found == [[0, 1, 2], [3], [7], [9]]


@pytest.mark.parametrize(
    "setting",
    [
        ["optimizer=lm"],
        ["optimizer=lbfgs"],
        ["optimizer=adam", "compile=true"],
        ["optimizer=adam", "dims=[2,64,64,1]"],
        ["optimizer=adam", "batch_size=null", "points=100000"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_one_network_or_gains_nothing_runs_alone(plan, tmp_path, setting):
    jobs = plan(*[[text] for text in setting], seeds(0, 1))
    assert members(make_job_groups(jobs, tmp_path, most=64)) == [[0], [1]]


def test_stacking_can_be_switched_off(plan, tmp_path):
    jobs = plan(["optimizer=adam"], seeds(0, 1))
    assert members(make_job_groups(jobs, tmp_path, most=1)) == [[0], [1]]


def test_jobs_are_known_by_what_they_compute_not_by_how_it_is_written(plan):
    adam, again, slower, other = (
        plan(*[[text] for text in texts])[0]
        for texts in (
            ["optimizer=adam"],
            ["optimizer=adam", "optimizer.lr=0.02", "seed=0", "logger=none"],
            ["optimizer=adam", "optimizer.lr=0.01"],
            ["optimizer=adam", "seed=1"],
        )
    )
    assert adam.key == again.key
    assert len({adam.key, slower.key, other.key}) == 3


def test_a_folder_is_named_by_what_is_swept_and_by_nothing_a_shell_would_read(plan, tmp_path):
    jobs = plan(["dims=[2,1,1]", "dims=[2,5,1]"], ["layer=mlp"], ["optimizer.damping=1e-3"])
    folder = make_job_group(jobs[1:], tmp_path).folder
    assert folder == tmp_path / "1_dims-2-5-1"
    assert number_of(folder) == 1
