"""Commands that the program prints, pasted into bash, mean what they say, whatever the names."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from kan_exp.commandline.arguments import spelled
from kan_exp.dashboard import read_arguments as read_dashboard
from kan_exp.train import train as whole
from tests.commands.in_process import Train

FOLDER = "-a b=c,[1] (x) 'q' \"d\" $HOME `ls` #!é\\"
TABLE = "~t, 'x' \"$HOME\" é.csv"
TARGET = "-y ($HOME) 'é', [1]"
COLUMNS = ['a "b" $x', "~c,d"]
# A linear model is as good on noise, so that the run prints what to try.
SMALL = ["layer=interpo", "optimizer=adam", "steps=2", "evaluations=1", "log_every_n_steps=1"]
SMALL += ["dims=[2,1]", "~callbacks.figures", "data=table", "data.separator=';'"]


def pasted(line: str) -> list[str]:
    """The words that a program gets when a line is pasted into bash."""
    script = f"python() {{ printf '%s\\0' \"$@\"; }}\npython {line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a run on a table has been made, all of it with names that mean something elsewhere."""
    folder = tmp_path_factory.mktemp("nasty")
    names = [f'"{name.replace(chr(34), chr(34) * 2)}"' for name in [*COLUMNS, TARGET]]
    rows = [f"{k % 7};{k * k % 5};{k * 7919 % 13}" for k in range(60)]
    (folder / TABLE).write_text("\n".join([";".join(names), *rows, ""]), encoding="utf-8")
    return folder


@pytest.fixture
def train(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    return Train(capsys, monkeypatch)


OPTIONS = [*SMALL, f"data.path={TABLE}", f"data.target={TARGET}"]


@pytest.fixture
def run(train, folder):
    """The output of the run; made once."""
    if not (folder / "printed.txt").exists():
        answer = train(*OPTIONS, f"hydra.run.dir=./{FOLDER}", task=whole)
        assert answer.code == 0, answer.err
        (folder / "printed.txt").write_text(answer.out, encoding="utf-8")
    return (folder / "printed.txt").read_text(encoding="utf-8")


def commands(text: str) -> dict[str, list[str]]:
    """The words of every printed `python -m kan_exp.NAME ...`, by its name."""
    found = re.findall(r"python -m kan_exp\.(\w+) ?(.*)", text)
    return {name: pasted(line) for name, line in found}


def test_what_a_run_prints_at_its_end(run, train, folder):
    found = commands(run)
    assert found.keys() == {"dashboard", "train"}
    assert read_dashboard(found["dashboard"])[0].resolve() == folder / FOLDER
    cfg = train(*found["train"]).cfg
    assert cfg.data.target == TARGET
    assert Path(cfg.data.path).resolve() == folder / TABLE
    assert cfg.smoothing.method == "reml"


def after(phrase: str) -> Callable[[str], str]:
    """The command that follows a phrase in an error."""

    def command(line: str) -> str:
        assert phrase in line, line
        return line.partition(phrase)[2].removesuffix(".")

    return command


def value_of(word: str) -> str:
    """The value of an option as a command finds it in its configuration."""
    (text,) = spelled([word])
    return str(OmegaConf.create({"it": OverridesParser.create().parse_override(text).value()}).it)


NAMED = f"./{FOLDER}"
ERRORS = [
    ([f"resume={NAMED}"], after("make a new one with "), "--from"),
    ([f"resume={NAMED}", "seed=3"], after("make a new run with "), "--from"),
    ([f"hydra.sweep.dir={NAMED}"], after(": write "), "hydra.run.dir"),
    (["-m", f"hydra.run.dir={NAMED}", "seed=1,2"], after(": write "), "hydra.sweep.dir"),
    (["-m", f"sweep.resume={NAMED}"], lambda line: line.partition(": no sweep")[0], "sweep.resume"),
]


@pytest.mark.parametrize(("arguments", "command", "option"), ERRORS, ids=lambda part: "")
def test_what_an_error_advises(run, train, folder, arguments, command, option):
    words = pasted(command(train(*arguments).line).partition(", or add")[0])
    if option == "--from":
        cfg = train(*words).cfg
        assert (cfg.data.target, cfg.data.path) == (TARGET, str(folder / TABLE))
        return
    (word,) = words
    assert word.startswith(f"{option}=")
    assert Path(value_of(word)) == Path(NAMED)


def test_a_run_that_was_cut_off_is_resumed_by_what_is_printed(train, folder):
    (folder / "cut" / FOLDER / "checkpoints" / "best.ckpt").mkdir(parents=True)
    line = train(f"hydra.run.dir=cut/{FOLDER}").line
    (word,) = pasted(after("or resume it: ")(line))
    assert train(word).line.startswith(f"cut/{FOLDER}: it is not known how this run was made")


def test_a_folder_that_holds_a_sweep_is_resumed_by_what_is_printed(train, folder):
    (folder / "swept" / FOLDER).mkdir(parents=True)
    content = {"overrides": ["seed=1,2"], "jobs": [], "cwd": str(folder)}
    (folder / "swept" / FOLDER / "sweep.json").write_text(json.dumps(content))
    line = train("-m", f"hydra.sweep.dir=swept/{FOLDER}", "seed=1,2").line
    flag, word = pasted(after("or resume it with ")(line))
    assert flag == "-m"
    assert Path(value_of(word)) == Path("swept", FOLDER)


def test_columns_that_are_advised_can_be_pasted(train, folder):
    header, *rows = (folder / TABLE).read_text(encoding="utf-8").splitlines()
    lines = [f"{header};text", *(f"{row};word {k}" for k, row in enumerate(rows)), ""]
    (folder / "words.csv").write_text("\n".join(lines), encoding="utf-8")
    given = [*SMALL, "data.path=words.csv", f"data.target={TARGET}"]
    line = train(*given, task=whole).line
    advised = pasted(after(": set ")(line))
    assert train(*given, *advised).cfg.data.drop == ["text"]


def test_a_target_that_is_advised_can_be_pasted(train, folder):
    given = [*SMALL, f"data.path={TABLE}"]
    line = train(*given, task=whole).line
    (word,) = pasted(after("such as ")(line).partition("; columns: ")[0])
    assert train(*given, word).cfg.data.target == TARGET
