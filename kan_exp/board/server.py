"""TensorBoard in this process, with the flags that a folder of runs needs."""

from __future__ import annotations

import socket
from pathlib import Path

import absl.logging
from tensorboard import default, program
from tensorboard.data import server_ingester
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin

from kan_exp.board.plugin import ResultsPlugin
from kan_exp.errors import KanExpError

RELOAD = 5  # seconds between two looks at what the runs have written
MOMENTS = 1000  # figures of one kind that the slider keeps; else ten, drawn at random
EVERYWHERE = ("0.0.0.0", "::")


def start(folder: Path, host: str, port: int | None) -> str:
    """Serves a folder from now on, as long as the process lives.

    Args:
        folder: With runs, at any depth.
        host: Name or address of this machine's that is listened on; 0.0.0.0 means all.
        port: 0 means any; `None` 6006, or the next that is free.

    Returns:
        The address for a browser.

    Raises:
        KanExpError: The port is taken, or there is no such host.
    """
    try:
        family, kind, *_, place = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as free:
            free.bind(place)
    except OSError as error:  # of which the server would make a message and an exit of its own
        raise KanExpError(
            f"host={host}: {error.strerror}; it must be this machine's, such as localhost."
        ) from error
    absl.logging.set_verbosity(absl.logging.ERROR)
    plugins = [ResultsPlugin if p is HParamsPlugin else p for p in default.get_plugins()]
    tensorboard = program.TensorBoard(plugins)
    tensorboard.configure(
        logdir=str(folder),
        host=host,
        port=port,
        reload_interval=RELOAD,
        samples_per_plugin={"images": MOMENTS},
        load_fast="true" if _has_data_server() else "false",  # "auto" says that it is experimental
        window_title=f"{folder.name} - kan_exp",
    )
    try:
        address: str = tensorboard.launch()
    except program.TensorBoardPortInUseError as error:
        raise KanExpError(
            f"port={port} is taken: set another, or leave it out for the next that is free."
        ) from error
    except program.TensorBoardServerException as error:
        raise KanExpError(f"port={port}: {error.msg}.") from error
    for name in EVERYWHERE:
        address = address.replace(f"//{name}:", f"//{socket.gethostname()}:")
    return address


def _has_data_server() -> bool:
    try:
        server_ingester.get_server_binary()
    except server_ingester.NoDataServerError:
        return False
    return True
