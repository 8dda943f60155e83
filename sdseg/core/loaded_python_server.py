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
from typing import NamedTuple

__all__: list[str] = []


def _serve(listening: socket.socket, launcher: str, libraries: list[str]) -> None:
    """Load, unless standard input ends before; then fork for every command."""
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
    _answer(listening, launcher)


class Running(NamedTuple):
    """A command, and the descriptors that tell of its end and of its caller's."""

    process: int
    ended: int
    caller: socket.socket


def _answer(listening: socket.socket, launcher: str) -> None:
    """Fork for every caller until standard input ends, then remove the launcher's folder; wait for what runs.

    Callers get the number of their command, then its status. No process stands between: each fork of what has loaded
    PyTorch takes 60 ms, of a processor that does nothing else.
    """
    poll, running, called = select.poll(), dict[int, Running](), True
    poll.register(listening, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    while called or running:
        ready = {number for number, _ in poll.poll()}
        for number in ready & running.keys():
            if number in running:  # both of a command may be ready
                _end(running[number], running, poll, killed=number != running[number].ended)
        if called and sys.stdin.fileno() in ready:
            called = False
            poll.unregister(sys.stdin)
            poll.unregister(listening)
            shutil.rmtree(os.path.dirname(launcher), ignore_errors=True)
        elif called and listening.fileno() in ready:  # last: it takes numbers of descriptors that were closed
            caller, _ = listening.accept()
            process = os.fork()
            if process == 0:
                listening.close()
                for one in running.values():
                    one.caller.close()
                _command(caller, launcher)
            command = Running(process, os.pidfd_open(process), caller)
            poll.register(command.ended, select.POLLIN)
            poll.register(caller, select.POLLRDHUP)  # what it has sent is for the command to read
            running[command.ended] = running[caller.fileno()] = command
            with contextlib.suppress(OSError):  # the caller was killed
                caller.sendall(struct.pack("!i", process))


def _end(command: Running, running: dict[int, Running], poll: select.poll, *, killed: bool) -> None:
    if killed:  # its caller was, now or before
        os.kill(command.process, signal.SIGKILL)
    _, status = os.waitpid(command.process, 0)
    with contextlib.suppress(OSError):
        command.caller.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
    for number in (command.ended, command.caller.fileno()):
        poll.unregister(number)
        del running[number]
    os.close(command.ended)
    command.caller.close()


def _command(caller: socket.socket, launcher: str) -> None:
    """Run what the caller sends, to the end of this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the client passes it on, or not
    head, streams, _, _ = socket.recv_fds(caller, 4, 3)
    if len(head) < 4:  # the client was killed
        os._exit(0)
    length: int = struct.unpack("!I", head)[0]
    call = b"".join(_received(caller, length))
    caller.close()
    words, folder, environment = json.loads(call.decode("utf-8", "surrogateescape"))
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    _take_environment(environment)
    sys.path[:0] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv = words[:1] + words[2:]
    sys.executable = launcher
    _run(words[1])


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
