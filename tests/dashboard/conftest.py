"""What the dashboard's tests share: runs to look at, and one browser that looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kan_exp.train import prepare
from scripts import browser as chromium
from scripts.browser import Page
from tests.conftest import run_command

STEPS = 200
SHORT = ("optimizer=adam", f"steps={STEPS}", "evaluations=4", "points=500")


@pytest.fixture(scope="session")
def outputs(tmp_path_factory) -> Path:
    """Two stacks of two seeds from a multirun, and a run of another layer with a penalty."""
    folder = tmp_path_factory.mktemp("user")
    done = run_command("train", "-m", "layer=mlp,interpo", "seed=0,1", *SHORT, cwd=folder)
    if done.returncode != 0:
        pytest.fail(done.stderr)
    single = folder / "outputs" / "2026-01-02" / "03-04-05-678"
    single.mkdir(parents=True)
    prepare(["layer=rbf", "penalty.l1_edges=1e-4", *SHORT[1:]], single).run()
    return folder / "outputs"


@pytest.fixture(scope="session")
def dashboard(outputs) -> Iterator[str]:
    with chromium.dashboard(outputs.parent) as address:
        yield address


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    programs = chromium.find_programs()
    if programs is None:
        pytest.skip("needs chromium (or google-chrome) and chromedriver on the PATH")
    with chromium.browser(*programs, tmp_path_factory.mktemp("browser")) as driver:
        yield driver


@pytest.fixture
def page(driver, dashboard, tmp_path) -> Iterator[Page]:
    yield Page(driver, dashboard)
    driver.save_screenshot(str(tmp_path / "page.png"))
