"""What happens beside the training: an orderly stop, a silent bar, figures that are reused."""

from __future__ import annotations

import io
import signal
import sys
import threading
from unittest.mock import Mock

import pytest
import torch

from kan_exp.plots.style import pixels
from kan_exp.training.callbacks import EdgeFigures, ProgressLine, SignalStop
from kan_exp.training.module import KANModule
from kan_exp.training.tensorboard import RunLogger
from tests.regression import TASK

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def fit(make_data, make_model, trainer, steps: int = 12, evaluations: int = 2) -> KANModule:
    data = make_data()
    data.plan(8, steps, 3, evaluations, torch.Generator().manual_seed(0))
    module = KANModule(make_model(data), TASK, torch.optim.Adam, None, {}, {})
    trainer.fit(module, datamodule=data)
    return module


# Stopping


@pytest.fixture
def handlers():
    """The handlers as they are; a test must leave them so."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield before
    after = [signal.getsignal(number) for number in SIGNALS]
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)
    assert after == before


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_insists(handlers, number):
    module = Mock()
    with SignalStop() as stop:
        stop.on_train_start(None, module)
        module.ask_to_stop.assert_not_called()
        signal.raise_signal(number)
        assert stop.received == number
        module.ask_to_stop.assert_called_once()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


def test_a_signal_before_the_training_stops_it_too(handlers):
    module = Mock()
    with SignalStop() as stop:
        signal.raise_signal(signal.SIGTERM)
        stop.on_train_start(None, module)
    module.ask_to_stop.assert_called_once()


def test_handlers_come_back_after_an_error(handlers):
    with pytest.raises(RuntimeError, match="broken"), SignalStop():
        raise RuntimeError("broken")
    assert [signal.getsignal(number) for number in SIGNALS] == handlers


def test_outside_the_main_thread_it_leaves_signals_alone(handlers):
    """Python allows handlers in the main thread only; a sweep may train in another."""
    seen = []

    def work() -> None:
        with SignalStop() as stop:
            seen.append(stop.received)
            seen.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None, *handlers]


@pytest.mark.parametrize("number", SIGNALS)
def test_training_ends_with_the_step_in_which_the_signal_came(
    handlers, make_data, make_model, make_trainer, number
):
    class Ring(SignalStop):
        def on_train_batch_start(self, trainer, *_) -> None:
            if trainer.global_step == 3:
                signal.raise_signal(number)

    with Ring() as stop:
        trainer = make_trainer(3000, callbacks=[stop])
        module = fit(make_data, make_model, trainer, steps=3000)
    assert stop.received == number
    assert trainer.global_step == 4
    assert [step for step, _ in module.val_history] == [4]  # what was learned is still validated


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_progress_is_for_terminals_only(
    make_data, make_model, make_trainer, monkeypatch, capsys, stream
):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    error = stream()
    monkeypatch.setattr(sys, "stderr", error)
    module = fit(make_data, make_model, make_trainer(12, callbacks=[ProgressLine()]))
    said = error.getvalue()
    assert capsys.readouterr().out == ""
    if stream is Terminal:
        assert "training" in said
        assert "12/12" in said
        _, loss = module.train_history[-1]
        assert f"loss {loss:.2e}" in said
        assert said.rstrip().endswith("\x1b[2K")  # and takes itself away
    else:
        assert said == ""


def test_progress_gives_the_terminal_back_when_training_fails(
    make_data, make_model, make_trainer, monkeypatch
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())

    class Fail(ProgressLine):
        def on_train_batch_start(self, *_) -> None:
            assert "\x1b[?25l" in sys.stderr.getvalue()  # the cursor is hidden
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        fit(make_data, make_model, make_trainer(12, callbacks=[Fail()]))
    assert sys.stderr.getvalue().rfind("\x1b[?25h") > sys.stderr.getvalue().rfind("\x1b[?25l")


# Figures


def test_figures_are_reused_and_follow_the_model(make_data, make_model):
    data = make_data()
    model = make_model(data)
    callback = EdgeFigures(0, points=20)

    def draw():
        return [callback.draw(n, view) for n, view in enumerate(callback.views(model, data))]

    first = draw()
    before = [pixels(figure) for figure in first]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.square())
    second = draw()
    assert len(second) == 2
    for old, new, image in zip(first, second, before, strict=True):
        assert old is new
        assert (pixels(new) != image).any()


def test_figures_see_the_first_training_points(make_data, make_model):
    data = make_data(components=[["sin(pi*x)", "y**2"], ["exp(h)"]])
    views = EdgeFigures(0, points=20).views(make_model(data, (2, 1, 1)), data)
    torch.testing.assert_close(
        torch.from_numpy(views[0].x), data.train.x[:20].double(), rtol=0, atol=1e-6
    )
    expected = torch.exp(torch.sin(torch.pi * data.train.x[:20, :1]) + data.train.x[:20, 1:] ** 2)
    torch.testing.assert_close(
        torch.from_numpy(views[1].truth), expected.double(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("moments", "at"), [(0, [0]), (1, [0, 6]), (2, [0, 6, 9]), (3, [0, 3, 6, 9]), (9, [0, 3, 6, 9])]
)
def test_figures_are_shown_as_often_as_asked(
    make_data, make_model, make_trainer, tmp_path, monkeypatch, moments, at
):
    logger = RunLogger(str(tmp_path), flush_secs=10)
    shown = []
    monkeypatch.setattr(logger, "figure", lambda tag, png, step: shown.append((tag, step)))
    callback = EdgeFigures(moments, points=20)
    trainer = make_trainer(12, callbacks=[callback], logger=logger)
    fit(make_data, make_model, trainer, evaluations=4)
    logger.experiment.close()
    # The end is left to the caller, who knows the best network by then.
    assert shown == [(f"edges/layer_{number}", step) for step in at for number in (1, 2)]
