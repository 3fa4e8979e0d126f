"""Scripts and benchmarks, which other tests do not run, import what exists."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [*sorted(ROOT.glob("scripts/*.py")), *sorted(ROOT.glob("benchmarks/*.py"))]


def own_imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kan_exp"):
            yield from ((node.module, alias.name) for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_everything_that_is_imported_exists(path):
    for module, name in own_imports(path):
        package = importlib.import_module(module)
        if not hasattr(package, name):
            importlib.import_module(f"{module}.{name}")
