"""Compiles the package's C code with the machine's compiler, once, and loads it."""

from __future__ import annotations

import atexit
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger(__name__)

SWITCH = "KAN_EXP_NATIVE"
COMPILERS = ("cc", "gcc", "clang")
# Vectorization needs sums in any order. -ffast-math would also lose NaNs.
FLAGS = (
    *("-std=c99", "-O3", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
    *("-fassociative-math", "-freciprocal-math"),
)
TUNED = ("-march=native",)
MAX_SECONDS = 600.0  # of a compiler, which may take minutes on a busy machine

_logged: set[str] = set()


def load_library(source: str, macros: Mapping[str, str]) -> ctypes.CDLL | None:
    """Loads a C file of this folder, compiled for this machine.

    The library is kept in the user's cache folder, under a name that depends on the source, the
    flags and the processor. `CC` in the environment names the compiler and its arguments;
    `KAN_EXP_NATIVE=0` turns compilation off.

    Args:
        source: Name of the file.
        macros: Macro definitions by name.

    Returns:
        The library, or `None` if no compiler works, which is logged once with the reason.
    """
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        compiler = _find_compiler()
        if compiler is None:
            _log_once(f"no C compiler was found ({os.environ.get('CC') or ', '.join(COMPILERS)})")
            return None
        path = Path(__file__).with_name(source)
        command = [*compiler, *FLAGS, *(f"-D{name}={value}" for name, value in macros.items())]
        key = "\n".join([path.read_text("utf-8"), *command, *TUNED, _processor()])
        name = f"{path.stem}-{_digest(key.encode())}"
        folder = _cache_folder()
        made = next(filter(_is_whole, folder.glob(f"{name}-*.so")), None)
        return ctypes.CDLL(str(made or _compile([*command, str(path)], folder, name)))
    except subprocess.TimeoutExpired as error:  # the next run may compile and round differently
        _log_once(_reason(error), logging.WARNING)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        _log_once(_reason(error))
    return None


def _find_compiler() -> list[str] | None:
    """The command: `CC` alone if it is set, or the first compiler that is installed."""
    chosen = shlex.split(os.environ.get("CC", ""))
    for name, *arguments in [chosen] if chosen else [[name] for name in COMPILERS]:
        if found := shutil.which(name):
            return [found, *arguments]
    return None


def _compile(command: list[str], folder: Path, name: str) -> Path:
    """Compiles to a file that appears complete, even if other processes compile it too."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        made = Path(own) / f"{name}.so"
        for tuned in (TUNED, ()):  # some compilers do not know their processor
            done = subprocess.run(
                [*command, *tuned, "-o", str(made)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=MAX_SECONDS,
                check=not tuned,
            )
            if done.returncode == 0:
                break
        return made.replace(folder / f"{name}-{_digest(made.read_bytes())}.so")


def _is_whole(library: Path) -> bool:
    """Whether a file has the digest in its name: loading a truncated one ends the process."""
    return library.stem.endswith(_digest(library.read_bytes()))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def _cache_folder() -> Path:
    """The user's cache, or a temporary folder if it is not writable by this user alone."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # A relative path is to be ignored, says the XDG specification.
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "kan_exp"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(folder):
            with tempfile.TemporaryFile(dir=folder):
                return folder
    except (OSError, RuntimeError):  # RuntimeError: the user has no home
        pass
    return _own_folder()


def _is_private(folder: Path) -> bool:
    """Whether only this user can write to it."""
    status = folder.stat()
    return os.name != "posix" or (status.st_uid == os.geteuid() and not status.st_mode & 0o022)


@functools.cache
def _own_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="kan_exp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _processor() -> str:
    """Identifies the kind of machine: machines of several kinds may share a home folder."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    kinds = {line for line in lines if line.startswith(("model name", "flags", "Features"))}
    return "\n".join([platform.system(), platform.machine(), platform.processor(), *sorted(kinds)])


def _reason(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        output = (error.stderr or "").strip().splitlines()
        return f"the C compiler failed ({output[0] if output else error.returncode})"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"the C compiler took more than {error.timeout:g} s"
    return f"the C code could not be compiled or loaded ({error})"


def _log_once(reason: str, level: int = logging.INFO) -> None:
    if reason not in _logged:
        _logged.add(reason)
        log.log(
            level,
            "Tables and splines take torch's own operations, which are slower and round in another "
            "order: %s.",
            reason,
        )
