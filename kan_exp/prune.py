"""Makes a trained network smaller: `python -m kan_exp.prune run=FOLDER`."""

from __future__ import annotations

from pathlib import Path

from kan_exp.cli import run_command, store_schema
from kan_exp.commandline.arguments import spelled
from kan_exp.config import TrainConfig
from kan_exp.errors import KanExpError
from kan_exp.preparing.stored_config import from_folder
from kan_exp.quoting import expand_home, quoted, read_path
from kan_exp.runs import option_name
from kan_exp.runs.folders import find_checkpoint
from kan_exp.train import train

HELP = ("--help", "-h", "--hydra-help", "--version")
FIXED = ("prune", "pruning.run", "replicas", "dims", "multiply", "layer", "layers", "optimizer")
FOLDER = "'outputs/${now:%Y-%m-%d}/${now:%H-%M-%S-%f}_pruned'"


def read_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """The command line of a training that takes the network of a run."""
    words = spelled(arguments)
    if not words or any(word in HELP for word in words):
        return "prune", words or ["--help"]
    runs = [word for word in words if word.startswith("run=")]
    if not runs:
        raise KanExpError("run is needed: run=FOLDER, the folder that a training printed.")
    folder = expand_home(read_path(runs[-1].removeprefix("run=")))
    find_checkpoint(folder)
    rest = [word for word in words if word not in runs]
    for word in rest:
        if option_name(word).partition(".")[0] in FIXED or option_name(word) in FIXED:
            raise KanExpError(f"{word}: the network is that of {folder}: leave it out.")
    if not any(option_name(word) == "hydra.run.dir" for word in rest):
        rest.insert(0, f"hydra.run.dir={FOLDER}")  # flags such as --cfg end the options
    network = quoted(str(Path(folder).absolute()))
    fixed = ["prune=auto", f"pruning.run={network}", "replicas=1"]
    return from_folder([f"--from={folder}", *fixed, *rest])


if __name__ == "__main__":
    store_schema("train_schema", TrainConfig)
    run_command("prune", train, read_arguments)
