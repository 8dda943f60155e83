"""The server of a loaded Python: `server.py SOCKET LAUNCHER LIBRARY…`, until its standard input ends.

It runs by itself, without the package: a command takes that of its folder or of PYTHONPATH, as always.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import struct
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator

__all__: list[str] = []


def _serve(listening: socket.socket, launcher: str, libraries: list[str]) -> None:
    """Load, then fork for every command until standard input ends; then remove the launcher's folder."""
    gc.disable()
    for name in libraries:
        if select.select([sys.stdin], [], [], 0)[0]:
            break
        if os.path.isabs(name):
            runpy.run_path(name, run_name="__main__")
        else:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    for each in weakref.finalize._registry:  # type: ignore[attr-defined]
        each.atexit = False  # PyTorch has a thousand, and what they undo ends with its process
    gc.freeze()
    gc.enable()
    while listening in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _command(connection, launcher)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    shutil.rmtree(os.path.dirname(launcher), ignore_errors=True)


def _command(connection: socket.socket, launcher: str) -> None:
    """Run one command in a process of its own, and tell the client its number, then its status."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    if len(head) < 4:  # the client was killed
        os._exit(0)
    length: int = struct.unpack("!I", head)[0]
    call = b"".join(_received(connection, length))
    words, folder, environment = json.loads(call.decode("utf-8", "surrogateescape"))
    process = os.fork()
    if process == 0:
        connection.close()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the client passes it on, or not
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        _take_environment(environment)
        sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        sys.argv = words[:1] + words[2:]
        sys.executable = launcher
        _run(words[1])
    with contextlib.suppress(OSError):  # the client was killed
        connection.sendall(struct.pack("!i", process))
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(process)
    if connection.fileno() in select.select([ended, connection.fileno()], [], [])[0]:  # it was killed, now or before
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(OSError):  # the client was killed
        connection.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _take_environment(environment: dict[str, str]) -> None:
    """OpenMP reads its variable when it is loaded; afterwards PyTorch alone takes another number of threads."""
    loaded_for = os.environ.get("OMP_NUM_THREADS")
    os.environ.clear()
    os.environ.update(environment)
    threads, torch = environment.get("OMP_NUM_THREADS", ""), sys.modules.get("torch")
    if torch is not None and threads != loaded_for and threads.isdecimal():
        torch.set_num_threads(int(threads))


def _received(connection: socket.socket, length: int) -> Iterator[bytes]:
    while length > 0:
        part = connection.recv(length)
        if not part:  # the client was killed
            os._exit(0)
        length -= len(part)
        yield part


def _run(module: str) -> None:
    """`python -m module`, to the end of the process."""
    status = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            status = end.code or 0
        else:
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3:])
