"""What is printed can be pasted: a shell and Hydra give back the path that was meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from kan_exp.commandline.arguments import spelled
from kan_exp.quoting import in_quotes, option, quoted, read_path, shell, typed, unquoted, word

ODD = st.sampled_from([*"'\"\\${}[](),=:~-+#!&|;<>*?%@ \t\n", "${seed}", "null", "1e5", "产", "é"])
LETTERS = st.characters(exclude_characters="\0", exclude_categories=("Cs",))
NAMES = st.lists(st.one_of(LETTERS, ODD), min_size=1, max_size=12).map("".join)
PATHS = st.one_of(NAMES, NAMES.map("outputs/{}".format), NAMES.map("/data/{}/".format))
MANY = settings(deadline=None, derandomize=True, max_examples=100)


def meant(path: str) -> set[str]:
    """A path, and the same as a shell would not take it for a flag or a home."""
    return {path, f"./{path}"}


def hydras(override: str) -> str:
    """The value of an option as a command finds it in its configuration."""
    parsed = OverridesParser.create().parse_override(override)
    assert not parsed.is_sweep_override()
    return OmegaConf.create({"it": parsed.value()}).it


@MANY
@given(PATHS)
@example("a b=c [1],(x) 'q' \"d\" \\ ${x} $HOME !!")
@example("\\${x}\\")
@example("???")
def test_a_printed_option_gives_back_its_path(path):
    (text,) = shlex.split(typed("run", path))
    assert read_path(text.removeprefix("run=")) in meant(path)
    assert hydras(text) in meant(path)
    assert spelled([text]) == [text]  # the commands read it as it is


@MANY
@given(PATHS)
def test_a_printed_word_gives_back_its_path(path):
    flag, text = shlex.split(shell("--from", word(path)))
    assert flag == "--from"
    assert read_path(text) in meant(path)
    assert not text.startswith(("-", "~"))


@MANY
@given(PATHS.filter(lambda path: "${" not in path and "\\" not in path and path not in NO_PATHS))
def test_a_path_needs_no_quotes_but_those_of_the_shell(path):
    for name in ("run", "data.path", "hydra.run.dir", "sweep.resume", "input", "logdir"):
        (text,) = spelled([f"{name}={path}"])
        wanted = path if unquoted(path) is None else unquoted(path)
        if path.startswith("~") and name.startswith("hydra."):
            wanted = str(Path(path).expanduser())
        assert hydras(text) == wanted


NO_PATHS = ("null", "???")


@MANY
@given(NAMES)
def test_quotes_can_be_taken_off(text):
    assert unquoted(in_quotes(text.replace("${", ""))) == text.replace("${", "")
    assert unquoted(quoted(text)) in (text, None)


@pytest.mark.parametrize(
    ("path", "pasted"),
    [
        ("outputs/2026-01-31/12-00-00_layer-mlp", "resume=outputs/2026-01-31/12-00-00_layer-mlp"),
        ("a b", "'resume=\"a b\"'"),
        ("lr=0.1", "'resume=\"lr=0.1\"'"),
        ("2026", "'resume=\"2026\"'"),
        ("~", "'resume=\"./~\"'"),
    ],
)
def test_it_is_as_short_as_it_can_be(path, pasted):
    assert typed("resume", path) == pasted


def test_a_file_with_quotes_in_its_name_is_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('"mine"').mkdir()
    assert read_path('"mine"') == '"mine"'
    Path("mine").mkdir()
    assert read_path('"mine"') == "mine"
    assert hydras(option("run", '"mine"')) == '"mine"'
