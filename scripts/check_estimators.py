# ruff: noqa: T201 - a script's output is its purpose.
"""scikit-learn's checks of both estimators with every layer, by short trainings with default dims.

    python scripts/check_estimators.py [layer ...]

The tests run them for `spline`, `interpo` and `mlp`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from pathlib import Path
from unittest import SkipTest

from sklearn.utils.estimator_checks import estimator_checks_generator

from kan_exp.config import config_folder
from kan_exp.sklearn import KANClassifier, KANRegressor

SHORT = {
    "smoothing.hidden": 1,
    "smoothing.num_candidates": [1, 1],
    "smoothing.steps": [8, 2, 2, 2, 6],
}


def main() -> None:
    """Prints each check that fails, and a line for each estimator."""
    known = sorted(path.stem for path in Path(config_folder()).glob("layer/*"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("layers", nargs="*", metavar="layer", help=", ".join(known))
    layers = parser.parse_args().layers
    if unknown := {*layers} - {*known}:
        parser.error(f"no such layer: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    logging.disable(logging.INFO)
    warnings.simplefilter("ignore")
    failures = 0
    for layer in layers or known:
        for kind in (KANRegressor, KANClassifier):
            counts = {"passed": 0, "skipped": 0, "failed": 0}
            for estimator, check in estimator_checks_generator(kind(layer=layer, options=SHORT)):
                try:
                    check(estimator)
                    counts["passed"] += 1
                except SkipTest:
                    counts["skipped"] += 1
                except Exception as error:  # noqa: BLE001 - whatever a check raises
                    counts["failed"] += 1
                    print(f"{kind.__name__} {layer}: {check.func.__name__}: {error!r}")
            failures += counts["failed"]
            print(f"{kind.__name__} {layer}: {counts}", flush=True)
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
