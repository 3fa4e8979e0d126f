"""Compiles the package's C code with the machine's own compiler, once, and loads it."""

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
# Sums may be taken in another order, which is what vectors need. Nothing may take numbers for
# finite, as -ffast-math does: a NaN must stay one.
FLAGS = (
    *("-std=c99", "-O3", "-shared", "-fPIC"),
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros"),
    *("-fassociative-math", "-freciprocal-math"),
)
TUNED = ("-march=native",)
LONGEST = 600.0  # seconds before a compiler is given up; on a busy machine it may take minutes

_told: set[str] = set()


def load_library(source: str, macros: Mapping[str, str]) -> ctypes.CDLL | None:
    """Loads a C file of this folder, compiled for this machine.

    What was compiled is kept in the user's cache folder, by a name that depends on the source, the
    flags and the processor. `CC` in the environment names the compiler, with arguments if need be;
    `KAN_EXP_NATIVE=0` switches this off.

    Args:
        source: Name of the file.
        macros: Names that the compiler replaces, and by what.

    Returns:
        The library, or `None` where no compiler works here, which is logged once with the reason.
    """
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        compiler = _find_compiler()
        if compiler is None:
            _tell(f"no C compiler was found ({os.environ.get('CC') or ', '.join(COMPILERS)})")
            return None
        path = Path(__file__).with_name(source)
        command = [*compiler, *FLAGS, *(f"-D{name}={value}" for name, value in macros.items())]
        key = "\n".join([path.read_text("utf-8"), *command, *TUNED, _processor()])
        name = f"{path.stem}-{_digest(key.encode())}"
        folder = _cache_folder()
        made = next(filter(_is_whole, folder.glob(f"{name}-*.so")), None)
        return ctypes.CDLL(str(made or _compile([*command, str(path)], folder, name)))
    except subprocess.TimeoutExpired as error:  # the next attempt may succeed and give other bits
        _tell(_reason(error), logging.WARNING)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        _tell(_reason(error))
    return None


def _find_compiler() -> list[str] | None:
    """The command: what `CC` says and nothing else, or the first compiler that is here."""
    chosen = shlex.split(os.environ.get("CC", ""))
    for name, *arguments in [chosen] if chosen else [[name] for name in COMPILERS]:
        if found := shutil.which(name):
            return [found, *arguments]
    return None


def _compile(command: list[str], folder: Path, name: str) -> Path:
    """Compiles to a file that is whole whenever it is there, even if others compile it too."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        made = Path(own) / f"{name}.so"
        for tuned in (TUNED, ()):  # not every compiler knows the processor that it runs on
            done = subprocess.run(
                [*command, *tuned, "-o", str(made)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LONGEST,
                check=not tuned,
            )
            if done.returncode == 0:
                break
        return made.replace(folder / f"{name}-{_digest(made.read_bytes())}.so")


def _is_whole(library: Path) -> bool:
    """Whether a file holds what its name says: one cut short would end the process when loaded."""
    return library.stem.endswith(_digest(library.read_bytes()))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def _cache_folder() -> Path:
    """The user's own cache; a folder for this process alone where others can write, or nobody."""
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
    """Whether code in it can come from nobody else."""
    about = folder.stat()
    return os.name != "posix" or (about.st_uid == os.geteuid() and not about.st_mode & 0o022)


@functools.cache
def _own_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="kan_exp-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


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
    if isinstance(error, subprocess.TimeoutExpired):
        return f"the C compiler took more than {error.timeout:g} s"
    return f"the C code could not be compiled or loaded ({error})"


def _tell(reason: str, level: int = logging.INFO) -> None:
    """Says once why it goes on without; torch's own operations give the same, more slowly."""
    if reason not in _told:
        _told.add(reason)
        log.log(
            level,
            "Tables and splines take torch's own operations, which are slower and round in another "
            "order: %s.",
            reason,
        )
