"""Remakes every figure of the README: `python scripts/make_figures.py`.

Trains the four experiments that the seed project showed, one with splines and one on a table, each
with its config's own seed, and lays out their figures in docs/images, in about a minute.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

from kan_exp.tasks.numbers import near_one

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
SHOWN = {
    "spline_2_1_1": "spline edges, [2,1,1]",
    "baseline_mlp_2_1_1": "MLP edges, [2,1,1]",
    "baseline_mlp_2_5_1": "MLP edges, [2,5,1]",
    "baseline_interpo_2_1_1": "interpolation edges, [2,1,1]",
    "baseline_interpo_2_5_1": "interpolation edges, [2,5,1]",
    "diabetes": "one table per column of the diabetes data",
}
TITLE_HEIGHT = 34
COLORS = 64  # enough for curves and their smoothing, at a fifth of the size

log = logging.getLogger("make_figures")


def train(experiment: str, folder: Path) -> dict[str, Any]:
    """Runs an experiment as a user would and returns its metrics."""
    command = [sys.executable, "-m", "kan_exp.train", f"experiment={experiment}"]
    subprocess.run([*command, f"hydra.run.dir={folder}", "logger=none"], check=True, cwd=ROOT)
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return metrics


def lay_out(title: str, folder: Path, target: Path) -> None:
    """Puts the layers' figures of a run below each other, under a title."""
    layers = [Image.open(path) for path in sorted((folder / "figures").glob("layer_*.png"))]
    width = max(image.width for image in layers)
    sheet = Image.new("RGB", (width, TITLE_HEIGHT + sum(image.height for image in layers)), "white")
    font = ImageFont.truetype(findfont("DejaVu Sans"), 16)
    ImageDraw.Draw(sheet).text((12, 8), title, fill="black", font=font)
    top = TITLE_HEIGHT
    for image in layers:
        sheet.paste(image, ((width - image.width) // 2, top))
        top += image.height
    sheet.quantize(COLORS).save(target, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("only", nargs="*", metavar="EXPERIMENT", help=", ".join(SHOWN))
    chosen = parser.parse_args().only or list(SHOWN)
    if unknown := set(chosen) - set(SHOWN):
        parser.error(f"no such experiment: {', '.join(sorted(unknown))}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    IMAGES.mkdir(parents=True, exist_ok=True)
    for experiment in chosen:
        with tempfile.TemporaryDirectory() as folder:
            metrics = train(experiment, Path(folder))
            result = f"test RMSE {metrics['test_rmse']:.3g}, R² {near_one(metrics['test_r2'])}"
            title = f"{SHOWN[experiment]}: {result}"
            lay_out(title, Path(folder), IMAGES / f"{experiment}.png")
            log.info("wrote %s", (IMAGES / f"{experiment}.png").relative_to(ROOT))


if __name__ == "__main__":
    main()
