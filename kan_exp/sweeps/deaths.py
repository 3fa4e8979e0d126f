"""Which processes of this machine have ended, told at once."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable
from contextlib import ExitStack


def wait_for_death(processes: Iterable[int], seconds: float) -> None:
    """Returns when one of these processes ends, whoever has started it, or after so many seconds.

    Where the system cannot tell (elsewhere than on Linux) it only lets time pass.
    """
    if not hasattr(os, "pidfd_open"):
        time.sleep(seconds)
        return
    poll = select.poll()
    with ExitStack() as opened:
        for process in processes:
            try:
                file = os.pidfd_open(process)
            except ProcessLookupError:
                return
            except OSError:  # more than may be open: it is noticed a moment later
                break
            opened.callback(os.close, file)
            poll.register(file, select.POLLIN)
        poll.poll(1000 * seconds)
