"""The command in the test's own process, or in copies of an interpreter that is warm already."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands.in_process import Train
from tests.conftest import environment


@pytest.fixture
def train(capsys, monkeypatch, tmp_path) -> Train:
    """`python -m kan_exp.train ...`, given in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return Train(capsys, monkeypatch)


# Each line on stdin is a command. A copy of this process runs it as `python -m` would.
TEMPLATE = """
import json, os, runpy, sys, warnings
import kan_exp.evaluate, kan_exp.predict, kan_exp.train
assert "torch" not in sys.modules
warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # imported already
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 0
        os.chdir(job["cwd"])
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(job[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv = [job["module"], *job["arguments"]]
        try:
            runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        print("torch imported:", "torch" in sys.modules)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def _template() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", TEMPLATE],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def light(_template, tmp_path, tmp_path_factory) -> Command:
    """Runs `kan_exp.<name> ...` in an empty folder; its last line says if torch was imported."""
    said = tmp_path_factory.mktemp("said")

    def run(name: str, *args: str, cwd: Path = tmp_path) -> subprocess.CompletedProcess[str]:
        job = {"module": f"kan_exp.{name}", "arguments": args, "cwd": str(cwd)}
        job |= {"stdout": str(said / "stdout"), "stderr": str(said / "stderr")}
        _template.stdin.write(json.dumps(job) + "\n")
        _template.stdin.flush()
        code = int(_template.stdout.readline())
        texts = ((said / kind).read_text() for kind in ("stdout", "stderr"))
        return subprocess.CompletedProcess(list(args), code, *texts)

    return run
