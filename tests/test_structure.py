"""What each part of the package may import."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import kan_exp

PACKAGE = Path(kan_exp.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# What each room imports of the others, no more and no less.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "quoting": set(),
    "terminal": set(),
    "lazy": set(),
    "options": {"errors", "quoting"},
    "runs": {"errors", "quoting"},
    "ranks": {"errors"},
    "layers": {"errors", "lazy"},
    "targets": {"errors"},
    "equations": {"errors", "layers", "targets"},
    "data": {"equations", "errors", "lazy", "quoting", "runs", "targets"},
    "tasks": {"data", "errors", "lazy", "runs"},
    "optimizers": {"errors", "layers", "options", "tasks"},
    "models": {"data", "equations", "errors", "layers", "runs", "targets", "tasks"},
    "exporting": {"data", "errors", "layers", "models", "quoting", "runs"},
    "board": {"errors", "runs", "tasks"},
    "symbolic": {"data", "errors", "models", "quoting", "runs", "targets"},
    "plots": {"models", "runs", "tasks"},
    "reporting": {"errors", "plots", "runs", "tasks"},
    "training": {
        *("board", "data", "equations", "errors", "layers", "lazy", "models", "optimizers"),
        *("plots", "quoting", "runs", "symbolic", "tasks"),
    },
    "config": {"errors"},
    "commandline": {"config", "errors", "quoting", "runs"},
    "cli": {"commandline", "config", "errors", "models", "runs", "terminal"},
    "preparing": {
        *("board", "cli", "commandline", "config", "data", "equations", "errors", "layers"),
        *(
            "models",
            "optimizers",
            "options",
            "quoting",
            "ranks",
            "runs",
            "symbolic",
            "tasks",
            "training",
        ),
    },
    "fitting": {
        *("data", "errors", "exporting", "layers", "models", "plots", "preparing"),
        *("runs", "symbolic", "targets", "tasks", "training"),
    },
    "sklearn": {"errors", "fitting", "models"},
    "sweeps": {
        *("cli", "commandline", "data", "errors", "options", "plots", "preparing"),
        *("quoting", "runs", "tasks"),
    },
    "train": {
        *("cli", "commandline", "config", "errors", "preparing", "ranks", "runs", "sweeps"),
        "training",
    },
}
# The commands, which do not import each other; `prune` is a training of its own kind.
COMMANDS: dict[str, set[str]] = {
    "prune": {
        *("cli", "commandline", "config", "errors", "preparing", "quoting", "runs", "train"),
    },
    "evaluate": {
        *("cli", "commandline", "config", "data", "errors", "models", "preparing"),
        *("runs", "tasks", "training"),
    },
    "export": {"cli", "exporting", "quoting"},
    "explain": {"cli", "errors", "preparing", "quoting", "runs", "symbolic", "training"},
    "predict": {"cli", "data", "errors", "lazy", "models", "quoting", "runs"},
    "report": {"cli", "commandline", "config", "errors", "quoting", "reporting", "runs"},
    "dashboard": {"board", "errors", "quoting", "runs", "terminal"},
    "__init__": {"fitting", "symbolic"},
}
# Who may import the large packages.
HYDRA = {"commandline", "cli", "preparing", "sweeps", "train", *COMMANDS} - {"__init__"}
LIGHTNING = {"data", "ranks", "training", "preparing"}
TORCH = {
    *LIGHTNING,
    "layers",
    "targets",
    "equations",
    "tasks",
    "optimizers",
    "models",
    "symbolic",
    "board",
    "exporting",
}
TORCH |= {"predict", "evaluate", "fitting", "sklearn"}
MATPLOTLIB = {"plots", "reporting", "training", "sweeps", "fitting", "sklearn"}


@cache
def parsed(path):
    return ast.parse(path.read_text())


@cache
def imports(path):
    """Names of modules that a file imports, wherever in it."""
    names = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.append(str(node.module))
    return names


def room(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(name):
    """The rooms that a room imports, and the packages of others."""
    rooms, packages = set(), set()
    for path in FILES:
        if room(path) == name:
            for module in imports(path):
                first, _, rest = module.partition(".")
                (rooms if first == "kan_exp" and rest else packages).add(
                    rest.partition(".")[0] if first == "kan_exp" and rest else first
                )
    return rooms - {name}, packages


def test_every_room_is_listed():
    assert {room(path) for path in FILES} == ROOMS.keys() | COMMANDS.keys()


@pytest.mark.parametrize("name", [*ROOMS, *COMMANDS])
def test_a_room_imports_what_is_listed(name):
    assert imported(name)[0] == {**ROOMS, **COMMANDS}[name]


def test_nothing_runs_back_up():
    before = set()
    for name, others in ROOMS.items():
        assert others <= before, name
        before.add(name)
    for name, others in COMMANDS.items():
        assert others <= before, name  # so that no command imports another


@pytest.mark.parametrize(
    ("packages", "rooms"),
    [
        ({"hydra", "omegaconf"}, HYDRA),
        ({"lightning"}, LIGHTNING),
        ({"torch"}, TORCH),
        ({"matplotlib"}, MATPLOTLIB),
    ],
    ids=["hydra", "lightning", "torch", "matplotlib"],
)
def test_large_packages_are_imported_in_few_rooms(packages, rooms):
    assert {name for name in {**ROOMS, **COMMANDS} if imported(name)[1] & packages} <= rooms


@cache
def first_imports(module):
    """The modules that a module imports as it is imported."""
    path = PACKAGE.parent / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not module.startswith("kan_exp") or not path.is_file():
        return set()
    found = set()
    for node in parsed(path).body:  # not below TYPE_CHECKING or in functions
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom):
            folder = PACKAGE.parent / node.module.replace(".", "/")
            modules = {one.name for one in node.names if (folder / f"{one.name}.py").is_file()}
            found |= {f"{node.module}.{name}" for name in modules} or {node.module}
    return found


def needed(module):
    """All modules that a module imports as it is imported, and those that these import."""
    found, left = set(), [module]
    while left:
        name = left.pop()
        found.add(name)
        left += first_imports(name) - found
    return found


def test_no_module_imports_itself_by_way_of_others():
    modules = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in FILES]
    names = [name.removesuffix(".__init__") for name in modules]
    TopologicalSorter({name: first_imports(name) for name in names}).prepare()  # or a CycleError


def test_a_model_is_loaded_without_lightning_and_matplotlib():
    tops = {name.partition(".")[0] for name in needed("kan_exp.fitting.model")}
    assert "torch" in tops
    assert not tops & {"lightning", "matplotlib", "hydra", "omegaconf", "tensorboard"}
    assert "lightning" in {name.partition(".")[0] for name in needed("kan_exp.training.module")}


def test_tables_are_checked_without_torch_and_polars_waits_for_the_first():
    tops = {name.partition(".")[0] for name in needed("kan_exp.data.training_table")}
    assert "numpy" in tops
    assert not tops & {"torch", "lightning", "polars", "hydra"}


def test_nothing_is_executed_from_text():
    for path in FILES:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile"}, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                if path.name != "workers.py":  # whose pipes are those of processes it has started
                    assert called not in {"pickle.load", "pickle.loads"}, path
                assert called != "builtins.eval", path
                if called == "torch.load":
                    assert "weights_only=True" in ast.unparse(node), path
                if called == "np.load":
                    assert "allow_pickle=False" in ast.unparse(node), path
