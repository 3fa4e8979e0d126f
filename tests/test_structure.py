"""The arrows between the rooms go one way."""

import ast
from pathlib import Path

import pytest

import kan_exp

PACKAGE = Path(kan_exp.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# A room may import those before it. The last know Hydra.
ROOMS = [
    "errors",
    "quoting",
    "options",
    "terminal",
    "runs",
    "ranks",
    "tasks",
    "board",
    "layers",
    "targets",
    "data",
    "models",
    "plots",
    "reporting",
    "optimizers",
    "training",
]
HYDRA = ["config", "commandline", "cli", "preparing", "sweeps", "rank"]
HYDRA += ["train", "evaluate", "predict", "report", "dashboard"]
ROOMS += HYDRA


def imports(path):
    """Names of modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield str(node.module)


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_commands_know_hydra(path):
    if room(path) not in HYDRA:
        tops = {name.partition(".")[0] for name in imports(path)}
        assert not tops & {"hydra", "omegaconf"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_those_before_it(path):
    if room(path) == "__init__":
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "kan_exp" and len(parts) > 1:
            assert ROOMS.index(parts[1]) <= ROOMS.index(room(path)), f"{path} imports {name}"


@pytest.mark.parametrize("name", ["layers", "plots", "targets"])
def test_layers_plots_and_targets_do_not_know_lightning(name):
    for path in (PACKAGE / name).rglob("*.py"):
        assert not any(module.startswith("lightning") for module in imports(path))


@pytest.mark.parametrize("name", ["runs", "reporting"])
def test_what_reads_runs_does_not_know_torch(name):
    for path in (PACKAGE / name).rglob("*.py"):
        assert not any(module.startswith(("torch", "lightning")) for module in imports(path))


def test_nothing_is_executed_from_text():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile"}, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert called not in {"pickle.load", "pickle.loads", "builtins.eval"}, path
                if called == "torch.load":
                    assert "weights_only=True" in ast.unparse(node), path
                if called == "np.load":
                    assert "allow_pickle=False" in ast.unparse(node), path
