"""What a user sees who trains a network and opens TensorBoard on `outputs`."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import read_metrics, run_command, run_folders

pytestmark = pytest.mark.slow

STEPS = 200
SCALARS = {"loss/train", "loss/val", "lr", "error/train_rmse", "error/val_rmse", "error/val_r2"}
IMAGES = {"edges/layer_1", "edges/layer_2", "result/loss", "result/prediction"}

# Most of TensorBoard sits in shadow roots, which neither XPath nor `innerText` look into.
DEEP = """
const deep = root => [...root.querySelectorAll('*')].flatMap(
    element => [element, ...(element.shadowRoot ? deep(element.shadowRoot) : [])]);
const own = element => [...element.childNodes]
    .filter(node => node.nodeType === Node.TEXT_NODE).map(node => node.data.trim()).join('');
const hidden = ['STYLE', 'SCRIPT', 'TEMPLATE', 'NOSCRIPT'];
const seen = deep(document).filter(e => !hidden.includes(e.tagName) && e.checkVisibility());
"""
TEXTS = DEEP + "return seen.map(own).filter(text => text);"
WITH_TEXT = DEEP + "return seen.filter(element => own(element) === arguments[0]);"
IMAGE_WIDTHS = DEEP + "return seen.filter(e => e.tagName === 'IMG').map(e => e.naturalWidth);"
# The longest line that a scalar's card draws, in pixels.
LINE_LENGTH = (
    DEEP
    + """
const card = seen.find(e => e.tagName === 'TF-SCALAR-CARD' && e.tag === arguments[0]);
const lines = card ? deep(card.shadowRoot).filter(e => e.matches('svg path')) : [];
return Math.max(0, ...lines.map(line => line.getTotalLength()));
"""
)
# The cells of the table of runs, with their places: their order in the page is not the table's.
CELLS = (
    DEEP
    + """
return seen.filter(e => e.tagName === 'VAADIN-GRID-CELL-CONTENT').map(cell => {
    const {x, y} = cell.getBoundingClientRect();
    return [cell.innerText.trim(), Math.round(x), Math.round(y)];
});
"""
)


def wait_for(what: str, found: Callable[[], Any], seconds: float = 20) -> Any:
    """Asks until there is an answer; a failed assertion or connection is no answer yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = found()
            assert answer, f"got {answer!r}"
        except (AssertionError, OSError) as error:
            if time.monotonic() > deadline:
                pytest.fail(f"No {what} within {seconds:g} s: {error}")
            time.sleep(0.2)
        else:
            return answer


def train(folder: Path, *overrides: str) -> None:
    done = run_command("train", *overrides, f"steps={STEPS}", "evaluations=4", cwd=folder)
    if done.returncode != 0:
        pytest.fail(done.stderr)


def fetch(address: str) -> Any:
    with build_opener(ProxyHandler({})).open(address, timeout=10) as answer:
        return json.load(answer)


@contextmanager
def serve(folder: Path, runs: int) -> Iterator[str]:
    """A TensorBoard on `outputs`, once it shows that many runs; gives its address."""
    log = folder / "tensorboard.log"
    # Without its data server TensorBoard is a single process, which ends as a whole.
    options = "--logdir outputs --host 127.0.0.1 --port 0 --load_fast false"
    command = [sys.executable, "-m", "tensorboard.main", *options.split()]
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)

    def address() -> str:
        assert server.poll() is None, log.read_text()
        printed = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert printed, log.read_text()
        return printed[0]

    try:
        found = wait_for("TensorBoard", address, 40)
        wait_for("runs in TensorBoard", lambda: len(fetch(f"{found}/data/runs")) == runs)
        yield found
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """The folder of a finished run, trained from an empty folder."""
    folder = tmp_path_factory.mktemp("user")
    train(folder, "optimizer=adam")
    (finished,) = run_folders(folder)
    return finished


@pytest.fixture(scope="module")
def tensorboard(run) -> Iterator[str]:
    with serve(run.parents[2], runs=1) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        pytest.skip("needs chromium (or google-chrome) and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    flags = (
        "headless no-sandbox disable-gpu no-first-run disable-background-networking "
        "disable-component-update disable-sync window-size=1600,1200"
    )
    for flag in [*flags.split(), f"user-data-dir={tmp_path_factory.mktemp('browser')}"]:
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    try:
        driver.set_page_load_timeout(30)
        driver.set_script_timeout(10)
        yield driver
    finally:
        driver.quit()


class Page:
    """A tab of TensorBoard, as someone in front of the screen has it."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, tab: str) -> None:
        self.driver.get("about:blank")  # or else only the fragment changes and nothing is loaded
        self.driver.get(f"{self.address}/#{tab}")

    def ask(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait_for_texts(self, *texts: str) -> list[str]:
        def found() -> list[str]:
            shown = self.ask(TEXTS)
            assert set(texts) <= set(shown), f"the page shows only {shown}"
            return shown

        return wait_for(f"text {texts}", found)

    def click(self, text: str) -> None:
        def clicked() -> bool:
            found = self.ask(WITH_TEXT, text)
            assert found, "it is not on the page"
            try:
                self.ask("arguments[0].scrollIntoView({block: 'center'})", found[0])
                found[0].click()
            except WebDriverException as error:  # the page is still moving
                raise AssertionError(error.msg) from error
            return True

        wait_for(f"click on {text!r}", clicked)


@pytest.fixture
def page(browser, tensorboard, tmp_path) -> Iterator[Page]:
    yield Page(browser, tensorboard)
    browser.save_screenshot(str(tmp_path / "page.png"))


def test_scalars_are_drawn(page):
    page.open("scalars")
    page.wait_for_texts(*SCALARS - {"lr"})  # TensorBoard opens the first two groups only
    page.click("lr")
    page.wait_for_texts(*SCALARS, "error/test_rmse", "error/test_mae", "error/test_r2")
    for tag in SCALARS:
        wait_for(f"line for {tag}", lambda tag=tag: page.ask(LINE_LENGTH, tag) > 50)


def test_images_are_loaded(page):
    page.open("images")
    page.wait_for_texts(*IMAGES)
    wait_for(
        "picture of every tag",
        lambda: sum(width > 0 for width in page.ask(IMAGE_WIDTHS)) == len(IMAGES),
    )


def test_text_shows_the_configuration(page):
    page.open("text")
    shown = page.wait_for_texts("config/text_summary")
    config = wait_for("config", lambda: [t for t in page.ask(TEXTS) if "dims:\n- 2\n" in t])
    assert f"steps: {STEPS}\n" in config[0], shown


def test_hparams_shows_choices_beside_results(page, run):
    page.open("hparams")

    def row() -> dict[str, str]:
        cells = page.ask(CELLS)
        top = next((y for text, _, y in cells if text == "Trial ID"), None)
        names = {x: text for text, x, y in cells if y == top and text}
        values = {names[x]: text for text, x, y in cells if y != top and text and x in names}
        assert {"Trial ID", "layer", "error/test_rmse"} <= set(values), cells
        return values

    if "seed" not in wait_for("table of runs", row):
        page.click("seed")  # TensorBoard ticks the first five only
        wait_for("column for the seed", lambda: "seed" in row())
    shown = row()
    assert shown["Trial ID"] == run.relative_to(run.parents[1]).as_posix()
    assert shown["layer"] == "mlp"
    assert float(shown["seed"]) == 0
    metrics = read_metrics(run)
    for name in ("rmse", "mae", "r2"):
        assert float(shown[f"error/test_{name}"]) == pytest.approx(
            metrics[f"test_{name}"], rel=1e-4
        )


def test_graphs_shows_the_network(page):
    page.open("graphs")
    page.wait_for_texts("KANModel", "input", "output")


@pytest.fixture(scope="module")
def events(run) -> EventAccumulator:
    found = EventAccumulator(str(run), size_guidance={"images": 0, "scalars": 0})
    found.Reload()
    return found


def test_curves_run_over_optimizer_steps(events):
    assert set(events.Tags()["scalars"]) >= SCALARS
    for tag in SCALARS:
        steps = [event.step for event in events.Scalars(tag)]
        assert steps == sorted(set(steps))
        assert len(steps) == 4
        assert steps[-1] == STEPS


def test_edges_can_be_replayed(events):
    assert set(events.Tags()["images"]) == IMAGES
    for tag in ("edges/layer_1", "edges/layer_2"):
        images = events.Images(tag)
        assert images[0].step == 0
        assert images[-1].step == STEPS
        assert images[0].encoded_image_string != images[-1].encoded_image_string


def test_results_stand_beside_the_choices(events, run):
    info = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert info.plugin_name == "hparams"
    assert events.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
    metrics = read_metrics(run)
    shown = events.Scalars("error/test_rmse")[-1]
    assert (shown.step, shown.value) == (STEPS, pytest.approx(metrics["test_rmse"]))


def test_hparams_has_the_options_of_every_layer(tmp_path):
    train(tmp_path, "-m", "layer=mlp,interpo")
    with serve(tmp_path, runs=2) as address:
        experiment = fetch(f"{address}/data/plugin/hparams/experiment?request=%7B%7D")
    names = {info["name"] for info in experiment["hparamInfos"]}
    assert {"layer.fcn_hidden", "layer.num_x"} <= names
