"""A Python that has loaded its libraries, and forks for each command: what takes seconds to load is loaded once.

`start_loaded_python` gives an executable for the place of the interpreter. It passes arguments, environment, folder and
streams to a server of this process, which forks (loaded_python_server.py). Signals and status are those of the command,
and it is killed with whoever called it. CPU time and memory are not: the command is a child of the server.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["forks_loaded_python", "start_loaded_python"]

HERE = Path(__file__).resolve().parent
LAUNCHER = """#!/bin/sh
case "$*" in
{forked}) exec {python} -IS {client} {server} "$@" ;;
*) exec {python} "$@" ;;
esac
"""


def forks_loaded_python() -> bool:
    """Whether this system forks what has loaded PyTorch: Linux. macOS has libraries that do not survive it."""
    return sys.platform == "linux" and hasattr(os, "pidfd_open")


def start_loaded_python(
    libraries: Sequence[str], forked: Sequence[str], environment: Mapping[str, str] | None = None
) -> Path:
    """An executable named `python`, alone in its folder.

    Its server ends with this process, whatever ends that, or with the last command that runs on after it.
    `libraries` are dotted names of modules, or files of Python that are run after them; those that are not installed
    are left out. What all of them hold then moves to huge pages (huge_pages.py). `forked` are beginnings of command
    lines, `-m sdseg evaluate`: all else runs in the interpreter itself. The server loads the libraries with
    `environment` (default: that of this process, without PYTHONPATH).
    """
    folder = Path(tempfile.mkdtemp(prefix="sdseg-python-"))  # short: names of sockets have 107 bytes
    launcher, server = folder / "python", folder / "server"
    text = LAUNCHER.format(
        forked="|".join(f"{shlex.quote(flag + words + ' ')}*" for words in forked for flag in ("", "-u ")),
        python=shlex.quote(sys.executable),
        client=shlex.quote(str(HERE / "loaded_python_client.py")),
        server=shlex.quote(str(server)),
    )
    launcher.write_text(text, encoding="utf-8")
    launcher.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(server))
        listening.listen(64)
        inherited = dict(os.environ if environment is None else environment)
        inherited.pop("PYTHONPATH", None)
        process = subprocess.Popen(
            [
                *(sys.executable, "-P", str(HERE / "loaded_python_server.py")),
                *(str(listening.fileno()), str(launcher), *libraries, str(HERE / "huge_pages.py")),
            ],
            stdin=subprocess.PIPE,  # ends with this process
            pass_fds=[listening.fileno()],
            start_new_session=True,  # a terminal's interrupt reaches the callers, who pass it on
            cwd=folder,
            env=inherited,
        )
    atexit.register(_end, process, os.getpid())
    return launcher


def _end(server: subprocess.Popen[bytes], owner: int) -> None:
    """Closes its standard input, and waits a little; forks of this process leave it alone."""
    if os.getpid() == owner:
        with contextlib.suppress(subprocess.TimeoutExpired):  # a command runs on, and the server for it
            server.communicate(timeout=2)
