"""Ctrl-C, SIGTERM and a limit of time end the training early; its result is as usual."""

from __future__ import annotations

import signal
import threading
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from kan_exp.training.module import KANModule

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class SignalStop(Callback):
    """Stops the training after the current step on SIGINT or SIGTERM.

    A context manager around training and the writing of results. A second signal raises
    `KeyboardInterrupt` at once.

    Args:
        seconds: After which a training is stopped, too; None for no limit.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds
        self._timer: threading.Timer | None = None
        self.received: signal.Signals | None = None
        self._module: KANModule | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> SignalStop:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in SIGNALS}
            self._listen()
        return self

    def _listen(self) -> None:
        for number in self._previous:
            signal.signal(number, self._receive)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: object) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = signal.Signals(number)
        if self._module is not None:
            self._module.ask_to_stop()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        # Lightning has set its own SIGTERM handler, which would skip the last validation.
        self._listen()
        self._module = cast(KANModule, module)
        if self.received is not None:
            self._module.ask_to_stop()
        if self.seconds is not None:
            self._timer = threading.Timer(self.seconds, self._module.ask_to_stop)
            self._timer.daemon = True
            self._timer.start()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._module = None
        self._end_timer()

    def on_exception(
        self, trainer: Trainer, module: LightningModule, exception: BaseException
    ) -> None:
        self._end_timer()

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
