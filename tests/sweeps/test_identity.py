"""Which jobs are the same run, and which may be trained as one network.

The independent answer is each job's configuration, composed by itself and resolved as a whole.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf, open_dict

from kan_exp.cli import store_schema
from kan_exp.config import RunConfig, RunContext, TrainConfig, config_folder
from kan_exp.errors import KanExpError
from kan_exp.preparing import keys, values
from kan_exp.preparing.choices import flat_choices
from kan_exp.preparing.keys import run_key, setting_key
from kan_exp.runs.identity import NON_RESULT_OPTIONS, decides_result, digest
from kan_exp.sweeps.jobs import make_job_groups, plan_jobs
from kan_exp.sweeps.sweeper import GridSweeper

ADAM = ["optimizer=adam", "layer=interpo"]
OWN = {
    "experiment/follows.yaml": "# @package _global_\ndata: {seed: '${seed}'}\n",
    "experiment/fixed.yaml": "# @package _global_\ndata: {seed: 7}\n",
    "layer/mine.yaml": "# @package _global_\ndefaults: [interpo]\nlayer: {num_x: '${steps}'}\n",
}


@pytest.fixture(scope="module")
def hydra(tmp_path_factory):
    """Hydra as the command has it, with configs of one's own."""
    own = tmp_path_factory.mktemp("own")
    for name, text in OWN.items():
        (own / name).parent.mkdir(exist_ok=True)
        (own / name).write_text(text)
    store_schema("train_schema", TrainConfig)
    before = Singleton.get_state()
    GlobalHydra.instance().clear()
    setup_globals()
    OmegaConf.register_new_resolver("double", lambda x: 2 * int(x), replace=True)
    OmegaConf.register_new_resolver("half", lambda x: int(x) // 2, replace=True)
    hydra = Hydra.create_main_hydra_file_or_module(None, None, config_folder(), "tests")
    yield hydra, [f"hydra.searchpath=[file://{own}]"]
    GlobalHydra.instance().clear()
    Singleton.set_state(before)
    OmegaConf.clear_resolver("double")
    OmegaConf.clear_resolver("half")


class NoLauncher(Launcher):
    def setup(self, *, hydra_context, task_function, config):
        raise NotImplementedError

    def launch(self, job_overrides, initial_job_idx):
        raise NotImplementedError


@pytest.fixture
def sweep(hydra, tmp_path):
    """What `-m` with these arguments runs: its jobs in groups, and the sweeper."""
    main, found = hydra

    def plan(*arguments):
        config = main.compose_config(
            "train", [*arguments, *found, f"hydra.sweep.dir={tmp_path / 'sweep'}"],
            run_mode=RunMode.MULTIRUN, with_log_configuration=False,
        )  # fmt: skip
        sweeper = GridSweeper(None, "test_rmse")
        sweeper.config, sweeper.launcher = config, NoLauncher()
        sweeper.hydra_context = HydraContext(main.config_loader, Callbacks())
        sweeper.folder = tmp_path / "sweep"
        sweeper.plan(OmegaConf.to_container(config.hydra.overrides.task))
        return sweeper.groups, sweeper

    return plan


def resolved(sweeper, overrides, number=0):
    """The configuration of a job by itself, without what decides no result."""
    loader = sweeper.hydra_context.config_loader
    cfg = loader.load_sweep_config(sweeper.config, list(overrides))
    cfg.hydra.job.num = number
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        for name in NON_RESULT_OPTIONS:
            cfg.pop(name, None)
    values = OmegaConf.to_container(cfg, resolve=True)
    values["data"].pop("units", None)
    return {**values, "layers": values["layers"] and list(map(spelled_out, values["layers"]))}


def spelled_out(entry):
    """An entry of `layers` with all options of its YAML file."""
    ((name, options),) = entry.items() if isinstance(entry, dict) else [(entry, {})]
    layer = OmegaConf.load(f"{config_folder()}/layer/{name}.yaml").layer
    defaults = {option: layer[option] for option in layer if option != "_target_"}
    return {name: {**defaults, **options}}


@pytest.fixture(scope="module")
def light(hydra):
    """Composes quickly: one configuration, to which values are given as Hydra would give them."""
    main, found = hydra
    base = main.compose_config(
        "train", [*ADAM, *found], run_mode=RunMode.RUN, with_log_configuration=False
    )
    with open_dict(base):
        del base["hydra"]

    def compose(overrides):
        cfg = base.copy()
        with open_dict(cfg):
            for override in OverridesParser.create().parse_overrides(list(overrides)):
                OmegaConf.update(cfg, override.key_or_group, override.value())
        return cfg

    return compose


def plain(cfg):
    values = {name: cfg[name] for name in cfg if name not in NON_RESULT_OPTIONS}
    values = {
        name: OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        for name, value in values.items()
    }
    values["data"].pop("units", None)
    return values


def seeds(groups):
    return sorted([job.seed for job in group.jobs] for group in groups)


TOGETHER, ALONE = [[0, 1, 2]], [[0], [1], [2]]


def groups_of(light, tmp_path, *options):
    swept = [[*options, f"seed={seed}"] for seed in (0, 1, 2)]
    return make_job_groups(plan_jobs(swept, light), tmp_path, most=64)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], TOGETHER),
        (["data.seed=3"], TOGETHER),
        (["steps=${gradient.steps}"], TOGETHER),
        (["data.seed=${seed}"], ALONE),
        (["data.seed=${points}", "points='${double:${seed}}'"], ALONE),
        (["points=${replicas}00"], ALONE),
        (["data.seed=${oc.select:seed}"], ALONE),
        (["data.seed='${half:${seed}}'"], [[0, 1], [2]]),
        (["dims=[2,'${double:${seed}}',1]"], ALONE),
        (["+target.extra={a:${seed}}"], ALONE),
        (["layer.num_x=${seed}"], ALONE),
        (["checkpoint_seconds=${seed}"], ALONE),
        (["logger.save_dir='${hydra:runtime.output_dir}/${seed}'"], ALONE),
    ],
    ids=str,
)
def test_seeds_are_stacked_if_nothing_else_differs(light, tmp_path, options, expected):
    assert seeds(groups_of(light, tmp_path, *options)) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["experiment=follows"], ALONE),
        (["experiment=fixed"], TOGETHER),
        (["layer=mine", "steps=${seed}"], ALONE),
        (["data.seed=${hydra:job.num}"], ALONE),
        (["target.formula='${hydra:job.override_dirname}'"], ALONE),
        (["layer.num_x=${hydra:sweep.subdir}"], ALONE),
        (["target.formula='${hydra:runtime.cwd}'"], TOGETHER),
    ],
    ids=str,
)
def test_seeds_are_stacked_if_no_file_and_no_setting_of_hydra_differs(sweep, options, expected):
    groups, sweeper = sweep(*ADAM, "seed=0,1,2", *options)
    assert seeds(groups) == expected
    if expected is ALONE:
        return
    (group,) = groups
    stacked = resolved(sweeper, group.overrides)
    for job in group.jobs:
        assert {**stacked, "replicas": 1, "seed": job.seed} == resolved(sweeper, job.overrides)


# Values that may refer to other options, to the seed among them; some only through others.
REFERRED = {"${points}": 0, "${gradient.steps}": 1, "${data.num_val}": 3}
NUMBERS = st.sampled_from(
    ["1", "${seed}", "'${double:${seed}}'", "'${half:${seed}}'", "${replicas}", *REFERRED]
)
OPTIONS = ("points", "gradient.steps", "data.seed", "data.num_val", "layer.num_x", "penalty.smooth")


@st.composite
def sets_of_overrides(draw):
    """Overrides in which references lead to earlier options only, so that none is circular."""
    found = []
    for place, option in enumerate(OPTIONS):
        if draw(st.booleans()):
            value = draw(NUMBERS.filter(lambda text, at=place: REFERRED.get(text, -1) < at))
            found.append(f"{option}={value}")
    other = draw(st.sampled_from(["data.seed", "layer.num_x"]))
    values = draw(st.lists(NUMBERS.filter(lambda text: text not in REFERRED), max_size=2))
    swept = [f"{other}={','.join(values)}"] if values else []
    numbers = draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    return [*found, *swept, f"seed={','.join(map(str, numbers))}"]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(overrides=sets_of_overrides())
def test_keys_and_groups_go_by_the_resolved_configurations(light, overrides):
    options = [text.partition("=")[::2] for text in overrides]
    combinations = [
        [f"{name}={value}" for (name, _), value in zip(options, values, strict=True)]
        for values in itertools.product(*(texts.split(",") for _, texts in options))
    ]
    jobs = plan_jobs(combinations, light)
    configs = {job.number: plain(light(job.overrides)) for job in jobs}
    for one, other in itertools.combinations(jobs, 2):
        assert (one.key == other.key) == (configs[one.number] == configs[other.number])
    for group in make_job_groups(jobs, Path(), most=64):
        if len(group.jobs) > 1:
            stacked = plain(light(group.overrides[:-1]))
            for k, job in enumerate(group.jobs):
                assert {**stacked, "seed": stacked["seed"] + k, "replicas": 1} == (
                    configs[job.number]
                )


@pytest.mark.parametrize(
    ("swept", "expected"),
    [
        ("0,00", [[0], [0]]),
        ("2,0,1,1", [[0], [1], [1, 2]]),
        ("'0','1'", [[0, 1]]),
        ("10,9,08", [[8, 9, 10]]),
        ("-1,0", [[-1], [0]]),
    ],
)
def test_seeds_may_be_written_in_many_ways(light, swept, expected):
    jobs = plan_jobs([[f"seed={text}"] for text in swept.split(",")], light)
    found = []
    for group in make_job_groups(jobs, Path(), most=64):
        first = light(group.overrides[:-1]).seed
        found.append([first + k for k in range(len(group.jobs))])
    assert sorted(itertools.chain(*found)) == sorted(
        int(text.strip("'")) for text in swept.split(",")
    )


@pytest.mark.parametrize(
    "swept",
    [
        ["dims=[2,1,1],[2,${layer.num_x},1]", "layer.num_x=5,6", "layer=interpo"],
        ["experiment=fixed,follows", "~scheduler"],
        ["layer=glob(i*)", "+trainer.profiler=simple"],
        ["points=range(100,201,100)", "optimizer.lr=1,1.0"],
        ["target.formula='sin(a)*b','a,b'", "layers=[spline,{mlp:{fcn_hidden:3}}]"],
        ["data.seed=shuffle(range(0,2))", "+optimizer.note={a:[1,x],b:null}"],
    ],
    ids=" ".join,
)
def test_keys_are_those_of_the_configurations_that_run(sweep, swept):
    groups, sweeper = sweep("optimizer=adam", "task=regression", *swept)
    jobs = [job for group in groups for job in group.jobs]
    assert len(jobs) > 0
    for job in jobs:
        assert job.key == digest(resolved(sweeper, job.overrides))


def test_a_task_that_no_table_decides_has_the_key_of_the_task_it_is(sweep):
    auto, chosen = (sweep(*ADAM, f"task={task}", "seed=1")[0] for task in ("auto", "regression"))
    assert auto[0].jobs[0].key == chosen[0].jobs[0].key


def test_a_reference_to_the_number_of_a_job_stays_that_number(sweep):
    """A launcher counts what it launches, and would give a job another number in a second try."""
    groups, _ = sweep(*ADAM, "data.seed=${hydra:job.num}", "layer.num_x=5,6,7")
    assert [f"data.seed={k}" in group.jobs[0].overrides for k, group in enumerate(groups)] == [
        True, True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("follows", "named"),
    [
        (["data.seed=${seed}"], "data.seed=${seed}"),
        (["points=${seed}"], "points=${seed}"),
        (["points=${replicas}"], "points=${replicas}"),
        (["layer.num_x='${double:${seed}}'"], "layer.num_x=${double:${seed}}"),
        (["dims=[2,${seed},1]"], "dims=[2, '${seed}', 1]"),
    ],
    ids=lambda value: str(value),
)
def test_replicas_that_would_not_be_the_runs_of_their_seeds_are_refused(light, follows, named):
    cfg = light(["replicas=8", "seed=2", *follows])
    with pytest.raises(KanExpError) as raised:
        keys.check_shared(cfg)
    line = str(raised.value)
    assert line.startswith(f"replicas=8: replica k is the run with seed+k, and {named}")
    assert "-m 'seed=range(2,10)'" in line
    assert "\n" not in line


@pytest.mark.parametrize("follows", [[], ["data.seed=${seed}"]], ids=str)
def test_any_number_of_replicas_is_checked_at_once(light, follows, monkeypatch):
    """That so many do not fit into memory is found out later."""
    cfg = light(["replicas=9999999", *follows])
    counted = []
    resolve = values.resolved
    monkeypatch.setattr(values, "resolved", lambda *args: counted.append(args) or resolve(*args))
    if follows:
        with pytest.raises(KanExpError, match=r"data\.seed"):
            keys.check_shared(cfg)
    else:
        keys.check_shared(cfg)
    assert len(counted) < 100 * len(cfg)


def test_seeds_of_a_setting_have_one_key_even_if_an_option_follows_them(light):
    keys = {
        name: {setting_key(light([*options, *seed])) for seed in (["seed=0"], ["seed=3"])}
        for name, options in {
            "fixed": [], "other": ["data.seed=3"], "follows": ["data.seed=${seed}"],
            "same": ["data.seed=${oc.select:seed}"], "twice": ["data.seed='${double:${seed}}'"],
        }.items()
    }  # fmt: skip
    assert {name: len(found) for name, found in keys.items()} == dict.fromkeys(keys, 1)
    assert keys["follows"] == keys["same"]
    assert len(set.union(*keys.values())) == 4
    stacked = setting_key(light(["replicas=4"]))
    assert keys["fixed"] == {stacked}


def test_what_follows_the_seed_is_shown_as_it_is_written(light):
    cfg = light(["data.seed=${seed}", "steps=${seed}", "seed=4"])
    context = RunContext(follows_seed=keys.follows_seed(cfg))
    flat = flat_choices(RunConfig(seed=4, steps=4), context)
    assert (flat["seed"], flat["steps"], flat["data.seed"]) == (4, "${seed}", "${seed}")
    assert keys.follows_seed(light(["data.seed=4"])) == {}


@pytest.mark.parametrize(
    ("override", "decides"),
    [
        ("checkpoint_seconds=9", False),
        ("threads=2", False),
        ("explain=true", False),
        ("logger=none", False),
        ("logger.flush_secs=1", False),
        ("hydra/launcher=joblib", False),
        ("hydra.sweep.dir=x", False),
        ("+hydra.job.x=1", False),
        ("search=learning_rate", False),
        ("sweep.metric=test_mae", False),
        ("callbacks=pruning", False),
        ("callbacks.figures.moments=3", False),
        ("~callbacks.progress", False),
        ("callbacks.a=1", False),
        ("callbacks=mine", True),
        ("callbacks.stop.patience=3", True),
        ("+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping", True),
        ("trainer=gpu", True),
        ("compile=true", True),
        ("hydration=1", True),
        ("log_every_n_steps=5", True),
        ("experiment=spline_2_1_1", True),
        ("seed=3", True),
    ],
)
def test_keys_settings_and_folders_agree_on_what_decides_a_result(light, override, decides):
    assert decides_result(override) == decides
    name = override.lstrip("+~").partition("=")[0]
    if name.partition(".")[0] in ("checkpoint_seconds", "threads", "logger", "sweep", "seed"):
        cfg = light([])
        changed = light([override])
        assert (run_key(cfg) != run_key(changed)) == decides


def test_a_callback_that_may_act_on_the_training_is_part_of_the_result(light):
    stop = "+callbacks.stop={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:x}"
    cfg = light([])
    assert run_key(cfg) != run_key(light([stop]))
    assert run_key(cfg) == run_key(light(["callbacks.figures.moments=4"]))


def test_a_new_option_that_another_refers_to_is_no_fault(sweep):
    (group,), _ = sweep(*ADAM, "+sed=1", "data.seed=${sed}")
    assert "+sed=1" in group.overrides


def test_a_job_that_asks_for_another_launcher_is_refused(sweep):
    """As an experiment of `experiment=a,b` may."""
    _, sweeper = sweep(*ADAM)
    with open_dict(sweeper.config):
        sweeper.config.hydra.runtime.choices["hydra/launcher"] = "joblib"
    with pytest.raises(KanExpError, match=r"^seed=1: .* set hydra/launcher=warm for all of them"):
        sweeper.compose(["seed=1"])
