"""References, and values that Hydra's grammar refuses: what to change, in one line."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kan_exp.commandline.explain import one_line
from kan_exp.runs.printable import printable

REFERENCES = [
    (
        "steps=${gradient.step}",
        "steps refers to gradient.step, which is not there. Did you mean gradient.steps?",
    ),
    (
        "penalty.jerk=${penalty.jrek}",
        "penalty.jerk refers to penalty.jrek, which is not there. Did you mean penalty.jerk?",
    ),
    (
        "dims=[2,${layer.numx},1]",
        "dims[1] refers to layer.numx, which is not there. Did you mean layer.num_x?",
    ),
    (
        "steps=${gradient.${optimizer._target_}}",
        "steps refers to gradient.torch.optim.Adam, which is not there.",
    ),
    (
        "penalty.jerk=${oc.env:KAN_EXP_NOPE}",
        "penalty.jerk refers to the environment variable KAN_EXP_NOPE, which is not set: set it, "
        "or write ${oc.env:KAN_EXP_NOPE,default}.",
    ),
    (
        "hydra.run.dir=${oc.env:KAN_EXP_NOPE}/a",
        "hydra.run.dir refers to the environment variable KAN_EXP_NOPE, which is not set: set it, "
        "or write ${oc.env:KAN_EXP_NOPE,default}.",
    ),
    (
        "penalty.jerk=${now:}",
        "penalty.jerk: ${now:} has too few arguments, or too many.",
    ),
    (
        "penalty.jerk=${env:HOME}",
        "penalty.jerk: ${env:HOME}: there is no resolver 'env'. Did you mean 'oc.env'?",
    ),
    ("seed=${seed}", "seed: ${seed} refers back to seed itself."),
    ("seed=${layer}", "seed: ${layer}: "),
    ("data.seed=${target.formula}", "data.seed refers to target.formula, which is not set"),
    ("dims=${gradient", "cannot read the option 'dims=${gradient'"),
]


@pytest.mark.parametrize(("option", "line"), REFERENCES)
def test_a_reference_to_nothing_is_reported_with_what_was_meant(train, tmp_path, option, line):
    arguments = ["layer=interpo", "optimizer=adam", option]
    if "target" in option:
        arguments.append("target=formula")
    assert train(*arguments).line.startswith(line)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix == ".json"]


GIVEN = [
    ("--layer=mlp", "--layer: there is no such flag. Options have no dashes: write layer=mlp."),
    ("--from", "--from needs a value"),
    ("--config-dir=nowhere", "--config-dir nowhere: there is no such folder"),
    ("--cfg=jobs", "--cfg takes one of job, hydra, all, got 'jobs'."),
    ("产量=3", "产量: there is no such option"),
    ("=3", "'=3': options are written as name=value."),
    ("seed", "cannot read 'seed': options are written as name=value."),
    ("layer.kind=ü(x)", """quote it: 'layer.kind="ü(x)"'"""),
    ("steps=a(b)", """quote it: 'steps="a(b)"'"""),
    ("folders=[a, b=1]", """quote it: 'folders=["a","b=1"]'"""),
    ("steps=it's", """quote it: 'steps="it'"'"'s"\'"""),
    ("dims=[2,1", "is a bracket or a quote missing?"),
    ("seed=1,2", "seed=1,2 has several values: add -m to run each; a list is in brackets."),
    ("seed=range(1,3)", "seed=range(1,3) has several values: add -m"),
]


@pytest.mark.parametrize(("argument", "fragment"), GIVEN)
def test_what_cannot_be_read_is_reported_with_its_cure(train, argument, fragment):
    assert fragment in train(argument).line


@pytest.mark.parametrize(
    ("given_", "read"),
    [
        ("data.target=产量", "产量"),
        ("data.target=price (EUR)", "price (EUR)"),
        ("data.target=a,b", "a,b"),
        ("data.target=it's", "it's"),
        ("data.target=2024", "2024"),
        ("data.target=1e3", "1e3"),
        ("data.target=[x]", ["x"]),
        ('data.target="a b"', "a b"),
        ("data.features=[sepal length (cm),petal width (cm)]",) * 2,
        ("data.features=[产量,b]", ["产量", "b"]),
        ("data.features=[a=b,x (m, s),y]", ["a=b", "x (m, s)", "y"]),
        ("data.features=['a,b',c (1)]", ["a,b", "c (1)"]),
        ("data.features=a,b", ["a", "b"]),
        ("data.features=[1,2]", ["1", "2"]),
        ("data.features=null", None),
    ],
)
def test_names_of_columns_need_no_quotes_for_hydra(train, given_, read):
    name = given_.partition("=")[0].rpartition(".")[2]
    cfg = train("data=table", "data.path=t.csv", "data.target=y", given_).cfg
    if read == given_:
        read = ["sepal length (cm)", "petal width (cm)"]
    assert cfg.data[name] == read


@pytest.mark.parametrize(
    ("given_", "read"),
    [
        ("logger.note=größe #1", "größe #1"),
        ("logger.note=a=b", "a=b"),
        ("logger.note=ü,b", "ü,b"),
        ("logger.note=${layer.${name}}", 5),
    ],
)
def test_text_that_can_be_read_in_one_way_needs_no_quotes(train, given_, read):
    options = ["+name=num_x", "layer=interpo", "layer.num_x=5"]
    assert train(*options, f"+{given_}").cfg.logger.note == read


def test_a_sweep_over_columns_stays_one(train):
    from kan_exp.commandline.arguments import spelled

    assert spelled(["data.target=a,b", "-m"]) == ["-m", "data.target=a,b"]
    assert spelled(["-m", "data.target=a (1),b (2)"])[1] == 'data.target="a (1)","b (2)"'
    assert spelled(["-m", "data.features=[a,b],[c (x),d]"])[1] == 'data.features=[a,b],["c (x)",d]'
    assert spelled(["-m", "data.path=a.csv,b (1).csv"])[1] == 'data.path=a.csv,"b (1).csv"'


def test_flags_may_stand_anywhere(train, tmp_path):
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "x.yaml").write_text("# @package _global_\nseed: 5\n")
    answer = train("experiment=x", "--config-dir", "mine", "steps=3")
    assert (answer.cfg.seed, answer.cfg.steps) == (5, 3)


KEYS = st.sampled_from(
    [
        *("seed", "dims", "layer", "layer.num_x", "steps", "+x", "data.path", "data.target"),
        *("target.formula", "penalty.jerk", "hydra.run.dir", "~layer", "experiment", "é", "refine"),
        *("data", "++trainer.y", "callbacks", "hydra.job.name", "layers", "optimizer", "-x", "@"),
    ]
)
TEXTS = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from("[]{}(),:=$'\"\\ 0123456789ab.-~?"),
    ),
    max_size=10,
)
VALUES = st.one_of(
    TEXTS,
    st.sampled_from(["null", "???", "true", "[2,1]", "{a: 1}", "${seed}", "${x}", "-1", "1e400"]),
    TEXTS.map("${{{}}}".format),
    TEXTS.map("[{}]".format),
)


@settings(
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.tuples(KEYS, VALUES).map("=".join), min_size=1, max_size=2))
def test_any_option_gives_a_configuration_or_one_line(train, options):
    answer = train(*options, "--cfg", "job")
    assert answer.code == 0 or answer.line == printable(answer.line)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("error", [Unprintable(), UnicodeDecodeError("x", b"", 0, 1, "y")])
def test_an_error_is_reported_even_if_it_cannot_be_explained(error):
    assert one_line(error)
    assert len(one_line(error).splitlines()) == 1
