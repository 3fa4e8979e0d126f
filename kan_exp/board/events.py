"""TensorBoard's event files."""

from __future__ import annotations

import itertools
import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event

from kan_exp.runs.best_effort import note_once

_COUNT = itertools.count()


class EventFile:
    """Writes events to a file, with the methods of TensorBoard's `EventFileWriter`.

    That one computes checksums in Python, 7 ms for a figure, in a thread for which the training has
    to wait. If the file cannot be written, as on a full disk, this one logs a note and drops all
    further events. After `flush_secs` the next event brings all before it to the disk.
    """

    def __init__(self, folder: Path, flush_secs: float) -> None:
        self._file: BinaryIO | None = None
        self._folder = folder
        self._flush_secs = flush_secs
        self._flushed = time.monotonic()
        with self._noting():
            # TensorBoard reads files in the order of names, which padded counts keep in one second.
            process = f"{socket.gethostname()}.{os.getpid()}.{next(_COUNT):06d}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"events.out.tfevents.{int(time.time()):010d}.{process}"
            self._file = path.open("xb")
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self.flush()

    def get_logdir(self) -> str:
        return str(self._folder)

    def add_event(self, event: Event) -> None:
        if self._file is not None:
            with self._noting():
                self._file.write(record(event.SerializeToString()))
        if time.monotonic() - self._flushed > self._flush_secs:
            self.flush()

    def flush(self) -> None:
        """Writes all events to the disk."""
        self._flushed = time.monotonic()
        if self._file is not None:
            with self._noting():
                self._file.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self.flush()
        self._drop()

    def __del__(self) -> None:
        self._drop()  # of a run that was interrupted

    def _drop(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk, of which there is a note already
                self._file.close()
            self._file = None

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            note_once("TensorBoard's file cannot be written, curves end here", error)
            self._drop()


def record(data: bytes) -> bytes:
    """An event as it is stored: length and data, each followed by a checksum.

    Source:
        TensorFlow's tsl/lib/io/record_writer.h and tsl/lib/hash/crc32c.h.
    """
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    value = google_crc32c.value(data)
    return struct.pack("<I", ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF)
