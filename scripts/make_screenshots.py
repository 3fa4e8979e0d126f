"""Remakes the README's figures of the dashboard: `python scripts/make_screenshots.py`.

Trains a small sweep in a folder of its own, opens `python -m kan_exp.dashboard` in a headless
Chromium and writes docs/images/dashboard_*.png, in about a minute. Needs chromium and chromedriver.
"""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browser import Page, browser, dashboard, find_programs, wait_for
from PIL import Image

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SWEEP = "-m layer=mlp,interpo,rbf optimizer=adam steps=600 seed=range(0,4) evaluations=10"
SINGLE = "layer=mlp optimizer=adam steps=600 dims=[2,1,1] callbacks.figures.moments=9"
COLORS = 128  # enough for TensorBoard's flat surfaces, at a third of the size
PAUSE = 4  # seconds, for what TensorBoard moves and fades
WIDTH, HEIGHT = 1600, 1000  # of the browser's page
SHOWN = (1200, 750)

log = logging.getLogger("make_screenshots")


def save(page: Page, name: str) -> None:
    """Writes what the page shows, reduced to a palette."""
    image = Image.open(io.BytesIO(page.driver.get_screenshot_as_png())).convert("RGB")
    path = IMAGES / f"dashboard_{name}.png"
    image = image.crop((0, 0, WIDTH, HEIGHT)).resize(SHOWN, Image.Resampling.LANCZOS)
    image.quantize(COLORS).save(path, optimize=True)
    log.info("wrote %s, %d kB", path.relative_to(IMAGES.parent.parent), path.stat().st_size // 1000)


def show_hparams(page: Page) -> None:
    """Parallel coordinates of the sweep, errors on a logarithmic scale."""
    page.open("hparams")
    page.click("PARALLEL COORDINATES VIEW")
    lines = "return seen.filter(e => e.matches('.foreground path')).length;"
    wait_for("lines", lambda: page.ask(lines))
    for choice in ("batch_size", "penalty.roughness", "data", "dims", "test_mae", "train_seconds"):
        page.ask(
            """
            const box = seen.find(e => e.tagName === 'PAPER-CHECKBOX' && e.checked
                                       && e.innerText.trim() === arguments[0]);
            if (box) box.click();
            """,
            choice,
        )
    for metric in ("test_rmse", "val_rmse"):
        page.ask(
            """
            const title = seen.find(e => e.matches('.metric-name, .hparam-name, u, div')
                && own(e) === arguments[0] && e.parentElement.innerText.includes('Logarithmic'));
            const scale = title && [...title.parentElement.querySelectorAll('paper-radio-button')]
                .find(e => e.innerText.trim() === 'Logarithmic');
            if (scale) scale.click();
            """,
            metric,
        )


def show_edges(page: Page) -> None:
    """The edges of the single run first, at a size that one can read."""
    page.open("images")
    page.wait_for_texts("edges/layer_1")
    page.click("Show actual image size")
    loaded = "return seen.filter(e => e.tagName === 'IMG' && e.naturalWidth > 0).length;"
    wait_for("figures", lambda: page.ask(loaded) > 2)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    programs = find_programs()
    if programs is None:
        sys.exit("needs chromium (or google-chrome) and chromedriver on the PATH")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for run in (SWEEP, SINGLE):
            command = [sys.executable, "-m", "kan_exp.train", *run.split()]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        profile = folder / "profile"
        with dashboard(folder) as address, browser(*programs, profile) as driver:
            driver.set_window_size(WIDTH, HEIGHT + 150)
            page = Page(driver, address)
            show_hparams(page)
            time.sleep(PAUSE)
            save(page, "hparams")
            page.open("custom_scalars")
            page.wait_for_texts("Loss and RMSE", "Replicas, RMSE")
            time.sleep(PAUSE)
            save(page, "curves")
            show_edges(page)
            time.sleep(PAUSE)
            save(page, "edges")


if __name__ == "__main__":
    main()
