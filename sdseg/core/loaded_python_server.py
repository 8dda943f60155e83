"""The server of a loaded Python: `server.py SOCKET LAUNCHER LIBRARY…`, until its standard input and what runs end.

It runs by itself, without the package: a command takes that of its folder or of PYTHONPATH, as always.
"""

import atexit
import contextlib
import ctypes
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

PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that follows the end of whoever forked


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
    gc.freeze()
    gc.enable()
    _answer(listening, launcher)


class Command(NamedTuple):
    """What runs: its process, the descriptor that tells of its end, and its caller, who is told."""

    process: int
    end: int
    caller: socket.socket


def _answer(listening: socket.socket, launcher: str) -> None:
    """Fork for every caller until standard input ends, then remove the launcher's folder and wait for what runs.

    Callers get the number of their process, then its status. No process waits beside it: to fork what has loaded
    PyTorch, and to end such a fork, takes longer than many a command.
    """
    poll, commands, serves = select.poll(), dict[int, Command](), True  # by the descriptors that tell of them
    poll.register(listening, select.POLLIN)
    poll.register(sys.stdin, select.POLLIN)
    while serves or commands:
        ready = {number for number, _ in poll.poll()}
        for number in ready:
            if number not in commands:  # the caller of a command that has just ended
                continue
            poll.unregister(number)
            command = commands.pop(number)
            if number == command.end:
                _report(command)
                if commands.pop(command.caller.fileno(), None):
                    poll.unregister(command.caller)
                command.caller.close()
            elif command.end not in ready:  # the caller was killed: so is the command, whose end is told in turn
                os.kill(command.process, signal.SIGKILL)
        if serves and sys.stdin.fileno() in ready:
            serves = False
            poll.unregister(sys.stdin)
            poll.unregister(listening)
            listening.close()
            shutil.rmtree(os.path.dirname(launcher), ignore_errors=True)
        elif serves and listening.fileno() in ready:  # last: it takes numbers of descriptors that were closed
            with contextlib.suppress(OSError):  # no memory, no process left: the caller sees its connection end
                _start(listening, launcher, commands, poll)


def _start(listening: socket.socket, launcher: str, commands: dict[int, Command], poll: select.poll) -> None:
    caller, _ = listening.accept()
    with contextlib.ExitStack() as stack:
        stack.enter_context(caller)
        process = os.fork()
        if process == 0:
            try:
                listening.close()
                for one in commands.values():
                    one.caller.close()
                _run_command(caller, launcher)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)  # whatever happens, it is no second server
        stack.callback(os.waitpid, process, 0)
        stack.callback(os.kill, process, signal.SIGKILL)  # first; where no descriptor is left
        command = Command(process, os.pidfd_open(process), caller)
        stack.pop_all()
    commands[command.end] = commands[caller.fileno()] = command
    poll.register(command.end, select.POLLIN)
    poll.register(caller, select.POLLRDHUP)  # its end; what it has sent is for the command to read
    with contextlib.suppress(OSError):  # the caller was killed
        caller.sendall(struct.pack("!i", process))


def _report(command: Command) -> None:
    os.close(command.end)
    _, status = os.waitpid(command.process, 0)
    with contextlib.suppress(OSError):  # the caller was killed
        command.caller.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))


def _run_command(caller: socket.socket, launcher: str) -> None:
    """Run what the caller sends, to the end of this process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the client passes it on, or not
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody would tell of its end, or of its caller's
    for each in weakref.finalize._registry:  # type: ignore[attr-defined]
        each.atexit = False  # the server's to run; PyTorch has a thousand, which take 40 ms
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
