"""Compiles the package's C code with the machine's own compiler, once, and loads it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

SWITCH = "KAN_EXP_NATIVE"
COMPILERS = ("cc", "gcc", "clang")
# Sums may be taken in another order, which is what vectors need. Nothing may take numbers for
# finite, as -ffast-math does: a NaN must stay one.
FLAGS = (
    *("-std=c99", "-O3", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
    *("-fassociative-math", "-freciprocal-math"),
)
TUNED = ("-march=native",)
LONGEST = 60.0  # seconds that a compiler may take

_told: set[str] = set()


def load_library(source: str, macros: Mapping[str, str]) -> ctypes.CDLL | None:
    """Loads a C file of this folder, compiled for this machine.

    What was compiled is kept in the user's cache folder, by a name that depends on the source, the
    flags and the processor. `KAN_EXP_NATIVE=0` in the environment switches this off.

    Args:
        source: Name of the file.
        macros: Names that the compiler replaces, and by what.

    Returns:
        The library, or `None` where no compiler works here, which is logged once with the reason.
    """
    if os.environ.get(SWITCH) == "0":
        return None
    compiler = _find_compiler()
    if compiler is None:
        _tell(f"no C compiler was found ({', '.join(COMPILERS)})")
        return None
    path = Path(__file__).with_name(source)
    defined = [f"-D{name}={value}" for name, value in macros.items()]
    key = "\n".join([path.read_text(), compiler, *FLAGS, *TUNED, *defined, _processor()])
    name = f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
    try:
        folder = _cache_folder()
        if not (folder / name).is_file():
            _compile([compiler, *FLAGS, *defined, str(path)], folder / name)
        return ctypes.CDLL(str(folder / name))
    except (OSError, subprocess.SubprocessError) as error:
        _tell(_reason(error))
        return None


def _find_compiler() -> str | None:
    chosen = os.environ.get("CC")
    names = [chosen, *COMPILERS] if chosen else COMPILERS
    return next((found for name in names if (found := shutil.which(name))), None)


def _compile(command: list[str], target: Path) -> None:
    """Compiles to a file that is whole whenever it is there, even if others compile it too."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made = Path(folder) / target.name
        for tuned in (TUNED, ()):  # not every compiler knows the processor that it runs on
            done = subprocess.run(
                [*command, *tuned, "-o", str(made)],
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=not tuned,
            )
            if done.returncode == 0:
                break
        made.replace(target)


def _cache_folder() -> Path:
    """The user's own cache; a folder for this process alone where that cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "kan_exp"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        return Path(_own_folder().name)


@functools.cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kan_exp-")  # which goes with the process


def _processor() -> str:
    """What compiled code depends on: machines of several kinds may share a home folder."""
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.is_file() else []
    kinds = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join([platform.system(), platform.machine(), platform.processor(), *sorted(kinds)])


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = (error.stderr or "").strip().splitlines()
        return f"the C compiler failed ({said[0] if said else error.returncode})"
    return f"the C code could not be compiled or loaded ({error})"


def _tell(reason: str) -> None:
    """Says once why it goes on without; torch's own operations give the same, more slowly."""
    if reason not in _told:
        _told.add(reason)
        log.info("Tables and splines take torch's own operations, which are slower: %s.", reason)
