"""Commands in forks of a process that has done its imports, each of which saves 4 s of them.

A forked command is a process of its own: its arguments, working folder, output, signal handlers and
exit code are those of `python -m`, and it ends after its threads and `atexit`. Forks share what an
interpreter decides as it starts, such as the seed of hashes, and what modules read from the
environment on import.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import importlib.metadata
import json
import os
import pickle
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Self

# Beginnings of the names of environment variables that count as a process starts, or on import.
STARTING = ("CUDA_", "GOMP_", "LANG", "LC_", "LD_", "MKL_", "MPL", "OMP_", "OPENBLAS_")
STARTING += ("PYTHON", "PYTORCH_", "TORCH_")


class ForkServer:
    """Starts processes as `subprocess` would start `python ...`, without their imports.

    Args:
        imports: Modules to import before the first fork. They must start no thread and compute
            nothing, since neither would be as in a new interpreter.
        environment: The environment variables of the server.
    """

    def __init__(self, imports: tuple[str, ...], environment: dict[str, str]) -> None:
        self.imports, self.environment = imports, environment
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def can_start(self, environment: dict[str, str]) -> bool:
        """Whether a fork that gets these variables is as a process that has begun with them."""
        changed = {name for name, _ in environment.items() ^ self.environment.items()}
        return sys.platform == "linux" and not any(name.startswith(STARTING) for name in changed)

    def start(self, *arguments: str, cwd: Path, environment: dict[str, str]) -> Forked:
        """Starts `python *arguments`, which begin with `-m MODULE` or `-c CODE`."""
        if self._control is None:
            self._control, theirs = socket.socketpair()
            with theirs:
                number = str(theirs.fileno())
                self._server = subprocess.Popen(
                    [sys.executable, __file__, number, *self.imports],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
        pipes = [os.pipe() for _ in range(3)]
        request = json.dumps([arguments, str(cwd), environment]).encode() + b"\n"
        socket.send_fds(self._control, [request[:1]], [end for _, end in pipes])
        self._control.sendall(request[1:])
        for _, end in pipes:
            os.close(end)
        stdout, stderr, reports = (end for end, _ in pipes)
        return Forked(arguments, os.fdopen(stdout), os.fdopen(stderr), os.fdopen(reports, "rb", 0))

    def close(self) -> None:
        """Ends the server; commands that still run go on."""
        if self._control is not None and self._server is not None:
            self._control.close()
            self._server.wait()
        self._control = self._server = None


class Forked:
    """A command that was started by `ForkServer`, with the interface of `subprocess.Popen`."""

    def __init__(
        self, arguments: tuple[str, ...], stdout: IO[str], stderr: IO[str], reports: IO[bytes]
    ) -> None:
        self.args, self.stdout, self.stderr, self._reports = arguments, stdout, stderr, reports
        self.pid = int(self._report())
        self.returncode: int | None = None

    def _report(self) -> bytes:
        line = self._reports.readline()
        if not line:
            raise ChildProcessError(f"the server that started {self.args} is gone")
        return line

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._reports], [], [], 0)[0]:
            self.returncode = int(self._report())
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._reports], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._report())
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Reads stdout and stderr to their ends and waits; a timeout raises TimeoutExpired."""
        end = None if timeout is None else time.monotonic() + timeout
        said: dict[Any, list[bytes]] = {self.stdout: [], self.stderr: []}
        left = list(said)
        while left:
            patience = None if end is None else max(0.0, end - time.monotonic())
            ready = select.select(left, [], [], patience)[0]
            if not ready:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            for stream in ready:
                said[stream].append(os.read(stream.fileno(), 1 << 16))
                if not said[stream][-1]:
                    left.remove(stream)
        self.wait(None if end is None else max(0.0, end - time.monotonic()))
        stdout, stderr = (_text(b"".join(parts)) for parts in said.values())
        return stdout, stderr

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()
        self._reports.close()


def _text(data: bytes) -> str:
    return data.decode().replace("\r\n", "\n").replace("\r", "\n")


def serve(control: socket.socket) -> tuple[list[str], str, dict[str, str]]:
    """Forks once per request, until the other end closes. Returns only in the forks."""
    # Ctrl-C is for pytest and the commands.
    on_ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)
    reports: dict[int, int] = {}  # where to tell how a process has ended
    signal.signal(signal.SIGCHLD, lambda *_: _report_ends(reports))
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 1, 3)
        if not data:
            os._exit(0)
        while not data.endswith(b"\n"):
            data += control.recv(1 << 16)
        stdout, stderr, report = descriptors
        # No end may be noticed before the process is known.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        if (process := _fork()) == 0:
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            for end in (control.detach(), *descriptors, *reports.values()):
                os.close(end)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            signal.signal(signal.SIGINT, on_ctrl_c)
            arguments, cwd, environment = json.loads(data)
            return arguments, cwd, environment
        os.close(stdout)
        os.close(stderr)
        reports[process] = report
        _tell(report, process)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])


def _fork() -> int:
    with warnings.catch_warnings():
        # Libraries may have threads that wait for work; the forks start their own.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _report_ends(reports: dict[int, int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            report = reports.pop(ended[0])
            _tell(report, os.waitstatus_to_exitcode(ended[1]))
            os.close(report)


def _tell(report: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # the test does not wait for it
        os.write(report, b"%d\n" % number)


def run(arguments: list[str], cwd: str) -> None:
    """Does what `python *arguments` does, in a process that has begun already."""
    os.chdir(cwd)
    kind, what, *rest = arguments
    sys.path.insert(0, str(Path.cwd()) if kind == "-m" else "")
    sys.argv = [kind, *rest]
    if kind == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), main.__dict__)  # noqa: S102 - the tests' own code


def look_for_plugins_once() -> None:
    """Lightning looks through all installed packages for each trainer, at some cost."""
    known = importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)
    known(group="lightning.pytorch.callbacks_factory")


def parse_files_once() -> None:
    """Keeps what PyYAML makes of a text: each composition reads the same twenty files of conf/."""
    yaml = importlib.import_module("yaml")
    load, kept = yaml.load, {}

    def load_again(stream: Any, Loader: Any) -> Any:
        text = stream.read() if hasattr(stream, "read") else stream
        key = text, Loader.__qualname__  # OmegaConf makes one of the same name for each call
        if key not in kept:
            if text is not stream:
                stream.seek(0)  # errors name the file
            kept[key] = pickle.dumps(load(stream, Loader))
        return pickle.loads(kept[key])

    yaml.load = load_again


def compose_from_memory() -> None:
    """Keeps, of compositions from conf/ alone, which configs they choose and what these make.

    Nearly all tests choose among a few dozen configs and differ in values, which are set later.
    """
    hydra = importlib.import_module("hydra._internal.config_loader_impl")
    choices = importlib.import_module("hydra._internal.defaults_list").Overrides
    store = importlib.import_module("hydra.core.config_store").ConfigStore.instance()
    folder = importlib.import_module("kan_exp.config").config_folder()
    choose = hydra.create_defaults_list
    merge = hydra.ConfigLoaderImpl._compose_config_from_defaults_list
    kept: dict[str, tuple[Any, bytes]] = {}

    def remembered(repo: Any, asked: Any, make: Callable[[], Any]) -> Any:
        if [one.path for one in repo.get_sources() if one.scheme() == "file"] != [folder]:
            return make()  # from configs of a test's own
        stored = [*_nodes(store.repo)]  # also plugins and commands have configs
        key = repr((asked, [*map(id, stored)]))
        if key not in kept:
            kept[key] = stored, pickle.dumps(make())
        return pickle.loads(kept[key][1])

    def choose_again(repo: Any, config_name: Any, overrides_list: Any, **how: bool) -> Any:
        given = choices(repo, overrides_list)
        groups = given.override_choices, [*map(vars, given.append_group_defaults)], given.deletions
        chosen = remembered(
            repo,
            (config_name, groups, how),
            lambda: choose(repo, config_name, overrides_list, **how),
        )
        chosen.config_overrides = given.config_overrides
        return chosen

    def merge_again(self: Any, defaults: list[Any], repo: Any) -> Any:
        return remembered(repo, [*map(vars, defaults)], lambda: merge(self, defaults, repo))

    hydra.create_defaults_list = choose_again
    hydra.ConfigLoaderImpl._compose_config_from_defaults_list = merge_again


def _nodes(folder: dict[str, Any]) -> Iterator[Any]:
    for node in folder.values():
        yield from _nodes(node) if isinstance(node, dict) else [node]


def compose_once() -> None:
    """Composes a configuration, after which the parsers of Hydra's grammars are faster."""
    hydra = importlib.import_module("hydra")
    config = importlib.import_module("kan_exp.config")
    importlib.import_module("kan_exp.cli").store_schema("train_schema", config.TrainConfig)
    with hydra.initialize_config_dir(config.config_folder(), version_base="1.3"):
        hydra.compose("train", overrides=["dims=[2,5,1]"], return_hydra_config=True)


class Ending:
    """Ends a fork without taking down all modules, which takes longer than many a command.

    Python calls it last, after all threads and what others have registered with `atexit`.
    """

    code: int | None = None

    def __init__(self) -> None:
        atexit.register(self)

    def __call__(self) -> None:
        if self.code is not None:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(self.code)

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        if isinstance(error, SystemExit):
            self.code = (error.code or 0) if isinstance(error.code, int | None) else 1
        elif kind is not KeyboardInterrupt:  # by which the process is killed
            self.code = 1 if kind else 0


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file
    given = set(os.environ)  # imports set more
    ending = Ending()
    look_for_plugins_once()
    parse_files_once()
    compose_from_memory()
    gc.disable()  # while modules are imported, as in conftest.py
    for module in sys.argv[2:]:
        importlib.import_module(module)
    # Hydra looks for plugins in all packages, which takes a quarter of a short command.
    importlib.import_module("hydra.core.plugins").Plugins.instance()
    compose_once()
    gc.collect()
    gc.freeze()  # else each fork would copy all memory to look for garbage in it
    gc.enable()
    gc.set_threshold(200_000, 50, 100)
    words, folder, variables = serve(socket.socket(fileno=int(sys.argv[1])))
    for variable in given - variables.keys():
        del os.environ[variable]
    os.environ.update(variables)
    with ending:
        run(words, folder)
