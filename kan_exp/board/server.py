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

RELOAD_SECONDS = 5
MAX_FIGURES = 1000  # steps of one figure that the slider keeps; TensorBoard's default is ten
ALL_ADDRESSES = ("0.0.0.0", "::")


def start(folder: Path, host: str, port: int | None) -> str:
    """Serves a folder of runs from now on, until the process ends.

    Args:
        folder: Contains runs, at any depth.
        host: Name or address of this machine on which to listen; 0.0.0.0 for all.
        port: 0 for any; None for 6006, or the next that is free.

    Returns:
        The address for a browser.

    Raises:
        KanExpError: The port is taken, or there is no such host.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except OSError as error:  # TensorBoard would print a message and exit
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
        reload_interval=RELOAD_SECONDS,
        samples_per_plugin={"images": MAX_FIGURES},
        load_fast="true" if _has_data_server() else "false",  # "auto" prints a note
        window_title=f"{folder.name} - kan_exp",
    )
    try:
        url: str = tensorboard.launch()
    except program.TensorBoardPortInUseError as error:
        raise KanExpError(
            f"port={port} is taken: set another, or leave it out for the next that is free."
        ) from error
    except program.TensorBoardServerException as error:
        raise KanExpError(f"port={port}: {error.msg}.") from error
    for name in ALL_ADDRESSES:
        url = url.replace(f"//{name}:", f"//{socket.gethostname()}:")
    return url


def _has_data_server() -> bool:
    try:
        server_ingester.get_server_binary()
    except server_ingester.NoDataServerError:
        return False
    return True
