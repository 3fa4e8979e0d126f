# ruff: noqa: T201 - the table is its purpose.
"""Trains on a GPU what the tests train on the CPU, and compares: `python scripts/check_gpu.py`.

First the tests of the kernels run on the device, and `benchmarks/layers.py` compares layers
with their targets. Then it trains: every layer with adam and with least squares, every other
optimizer with splines, replicas, a run that goes on, and what `evaluate`, `predict` and `load` make
of a run; and two runs with `trainer=auto` that have a limit of time. Prints a table of test RMSEs
and seconds; ends with exit code 1 where a test or a run fails or ends elsewhere than on the CPU.
`--device cpu` compares the CPU with itself, without the benchmark; `--only` trains only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SMALL = ["points=500", "data.num_val=200", "data.num_test=200", "dims=[2,2,1]", "logger=none"]
SMALL += ["~callbacks.figures"]
ADAM = ["optimizer=adam", "steps=300", "evaluations=3"]
LM = ["optimizer=lm", "refine.num_candidates=[4,2]", "refine.steps=[10,10]"]
LAYERS = ["interpo", "spline", "mlp", "chebyshev", "fourier", "rbf", "rational", "linear"]
RUNS = {
    **{f"{layer} adam": [*ADAM, f"layer={layer}"] for layer in LAYERS},
    **{f"{layer} lm": [*LM, f"layer={layer}"] for layer in LAYERS},
    "mlp with tables": [*ADAM, "layer=mlp", "layer.table_points=32"],
    "spline adamw": [*ADAM, "layer=spline", "optimizer=adamw"],
    "spline sgd": [*ADAM, "layer=spline", "optimizer=sgd", "optimizer.lr=0.002"],
    "spline lbfgs": ["layer=spline", "optimizer=lbfgs", "steps=20"],
    "spline replicas": [*ADAM, "layer=spline", "replicas=8"],
    "mlp replicas": [*ADAM, "layer=mlp", "replicas=8", "penalty.roughness=1e-4"],
    "default": ["dims=[2,5,1]", "points=1000"],
}
# Seconds of trainings that there must be at most, and that are aimed at; on an H100.
TIMED = {
    "interpo [2,5,1]": (["layer=interpo", "optimizer=adam", "dims=[2,5,1]", "steps=8000"], 8, 3),
    "mlp [2,5,1], lm": (["layer=mlp", "optimizer=lm", "dims=[2,5,1]"], 2, 1),
}
KERNELS = "tests/layers/kernels/test_triton_sum.py"
ROOT = Path(__file__).resolve().parent.parent
# Trainings amplify differences of rounding; these are apart by far more than that.
FACTOR = 3.0


def command(name: str, *options: str) -> None:
    """Runs a command of the program.

    Raises:
        RuntimeError: It fails; with its last lines.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"kan_exp.{name}", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise RuntimeError(" / ".join(lines[-2:]))


def trained(options: list[str], trainer: str, folder: Path) -> tuple[float, float, str]:
    """Trains; the test RMSE, the seconds of the training, and the device."""
    command("train", *options, f"trainer={trainer}", f"hydra.run.dir={folder}")
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics["test_rmse"], metrics["train_seconds"], metrics["device"]


def resumed(trainer: str, folder: Path) -> None:
    """Begins a run with this trainer, kills it, and goes on."""
    options = [*SMALL, *ADAM, "layer=mlp", "steps=20000", "checkpoint_seconds=0"]
    options += [f"trainer={trainer}", f"hydra.run.dir={folder}"]
    line = [sys.executable, "-m", "kan_exp.train", *options]
    begun = subprocess.Popen(line, stdout=subprocess.DEVNULL)
    last = folder / "checkpoints" / "last.ckpt"
    while begun.poll() is None and not last.exists():
        time.sleep(0.05)
    begun.kill()
    begun.wait()
    command("train", f"resume={folder}")


def used(folder: Path) -> None:
    """Evaluates, predicts and loads."""
    table = folder / "rows.csv"
    table.write_text("x,y\n0.1,0.2\n-0.3,0.4\n")
    command("evaluate", f"run={folder}")
    command("predict", f"run={folder}", f"input={table}", f"output={folder / 'predicted.csv'}")
    import kan_exp

    devices = {part.device.type for part in kan_exp.load(folder).state_dict().values()}
    if devices != {"cpu"}:
        raise RuntimeError(f"load gave tensors on {devices}")


def check_kernels(device: str) -> int:
    """Tests the kernels, and on a GPU measures layers; how many of the two fail."""
    name = {"gpu": "cuda"}.get(device, device)
    lines = [[sys.executable, "-m", "pytest", "-q", f"--device={name}", KERNELS]]
    if device == "gpu":
        lines.append([sys.executable, "benchmarks/layers.py", "--device=cuda", "--quick"])
    return sum(subprocess.run(line, cwd=ROOT, check=False).returncode != 0 for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--only", help="run only what has this in its name", default="")
    args = parser.parse_args()
    failed = 0 if args.only else check_kernels(args.device)
    print(f"{'run':<18} {'cpu':>10} {'s':>7} {args.device:>10} {'s':>7}  device")
    with tempfile.TemporaryDirectory() as there:
        for name, options in RUNS.items():
            if args.only not in name:
                continue
            try:
                cpu, slow, _ = trained(
                    [*SMALL, *options], "cpu", Path(there, f"{name} cpu".replace(" ", "_"))
                )
                folder = Path(there, name.replace(" ", "_"))
                other, fast, device = trained([*SMALL, *options], args.device, folder)
                used(folder)
            except RuntimeError as error:
                failed += 1
                print(f"{name:<18} FAILED: {error}", flush=True)
                continue
            apart = not cpu / FACTOR <= other <= cpu * FACTOR
            failed += apart
            said = f"{name:<18} {cpu:10.3g} {slow:7.2f} {other:10.3g} {fast:7.2f}  {device}"
            print(said + ("  APART" if apart else ""), flush=True)
        for name, (options, must, aim) in TIMED.items():
            if args.only in name:
                folder = Path(there, name.replace(" ", "_"))
                options = [*options, "logger=none", "~callbacks.figures"]
                _, seconds, device = trained(options, "auto", folder)
                met = f"must {must} s, aim {aim} s"
                print(f"{name:<18} {'':>10} {'':>7} {'':>10} {seconds:7.2f}  {device}; {met}")
        if args.only in "resume":
            try:
                resumed(args.device, Path(there, "resumed"))
                print("resume             done", flush=True)
            except RuntimeError as error:
                failed += 1
                print(f"resume             FAILED: {error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
