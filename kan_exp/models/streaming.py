"""Predictions for the rows of tables of any size: a part at a time, by several threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kan_exp.data.batches import Batches
from kan_exp.data.columns import FloatArray
from kan_exp.data.new_levels import NewLevels
from kan_exp.data.ranges import FarRows
from kan_exp.data.reading import read_columns
from kan_exp.data.schema import Schema
from kan_exp.data.table import Table
from kan_exp.data.table_file import TableFile
from kan_exp.models.model import KANModel
from kan_exp.models.residuals import interval_ends

AHEAD = 2  # parts that wait for each thread


class Part(NamedTuple):
    """Predictions for a part of a table.

    Attributes:
        file: The part.
        size: Its rows or bytes, as `Batches.size` counts them.
        table: Its columns.
        x: Inputs of the network `(n, in)`.
        predicted: Predictions `(n, outputs)`.
        ends: Of their intervals, `(n, outputs, 2)`; None if not asked for.
        far: Which rows lie outside of the trained range.
        gaps: Which rows have no prediction, or no true value if that is read.
    """

    file: TableFile
    size: int
    table: Table
    x: FloatArray
    predicted: Tensor
    ends: Tensor | None
    far: NDArray[np.bool_]
    gaps: NDArray[np.bool_]


class Predictor:
    """Predicts the parts of a table, and collects notes on all rows.

    Args:
        model: The network.
        schema: The columns that are read.
        drops: Whether rows with gaps are left out; they are refused if not.
        margins: See `KANModel.interval_margins`; None for no intervals.
    """

    def __init__(
        self, model: KANModel, schema: Schema, drops: bool, margins: Tensor | None = None
    ) -> None:
        self.model, self.schema, self.drops, self.margins = model, schema, drops, margins
        self.far, self.new = FarRows(model.trained_ranges, model.features), NewLevels(schema)
        self.rows = self.gaps = self.broken = 0
        self._notes: dict[str, str] = {}  # the first of each column

    @contextmanager
    def run(self, parts: Batches, name: str) -> Iterator[Iterator[Part]]:
        """Gives the predictions for all parts in their order; the progress bar has the name.

        Raises:
            KanExpError: A part cannot be read, or every row has a gap.
        """
        with _one_thread_each() as workers, _progress(name, parts.size) as advance:
            yield self._counted(_in_order(self.predict, parts, workers), advance)

    def predict(self, file: TableFile, size: int) -> Part:
        """Predicts a part; several threads call this."""
        missing = "drop" if self.drops else "error"
        table = read_columns(file, self.schema, missing, keeps_gaps=True)
        x = self._inputs(table)
        gaps = table.gaps.to_numpy() if self.drops else np.zeros(len(x), dtype=bool)
        predicted = self.model.predict(torch.from_numpy(x))
        ends = None
        if self.margins is not None:
            ends = interval_ends(self.model.schema, predicted, self.margins)
        return Part(file, size, table, x, predicted, ends, self.far.find(x), gaps)

    def _inputs(self, table: Table) -> FloatArray:
        """Inputs of the network `(n, in)`."""
        if not self.schema.is_plain:
            return table.x
        # NaN for gaps. Each column in one piece, which takes half of the time.
        columns = table.frame.select(self.schema.columns).fill_null(float("nan"))
        return np.asarray(columns.to_numpy(order="fortran", writable=True))

    def _counted(self, parts: Iterator[Part], advance: Callable[[int], None]) -> Iterator[Part]:
        """The parts, each of which is counted for `notes`."""
        for part in parts:
            known = ~part.gaps
            count = int(known.sum())
            self.rows += count
            self.gaps += len(known) - count
            whole = count == len(known)
            self.far.add(*((part.x, part.far) if whole else (part.x[known], part.far[known])))
            finite = part.predicted.isfinite().all(1).numpy()
            self.broken += int((~finite & known).sum())
            for note in part.table.notes:
                self._notes.setdefault(note.partition(" has whole numbers")[0], note)
            self.new.add(part.table.frame)
            advance(part.size)
            yield part
        if not self.rows and self.gaps:
            raise part.file.error("every row has a gap, so that no row has a prediction.")

    def notes(self) -> list[str]:
        """Lines about all rows."""
        lines = [*self._notes.values(), *self.new.lines()]
        if self.gaps:
            lines.append(f"{self.gaps:,} of {self.rows + self.gaps:,} rows with gaps are left out.")
        lines += self.far.lines()
        return lines + [f"{self.broken:,} predictions are no finite numbers."] * bool(self.broken)


def _in_order(
    work: Callable[[TableFile, int], Part], parts: Batches, workers: int
) -> Iterator[Part]:
    """Results for all parts in their order, by several threads."""
    waiting: deque[Future[Part]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for part in parts:
                waiting.append(pool.submit(work, *part))
                if len(waiting) > AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


@contextmanager
def _one_thread_each() -> Iterator[int]:
    """The number of threads for whole parts; each then computes alone.

    Threads that share each operation wait for each other thousands of times.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield count
    finally:
        torch.set_num_threads(count)


@contextmanager
def _progress(name: str, size: int | None) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=size)
        yield lambda amount: bar.advance(task, amount)
