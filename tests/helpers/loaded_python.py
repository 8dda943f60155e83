"""A Python that has loaded what commands of this project load, and forks for each: `python -m sdseg …` in less time.

PyTorch, diffusers and Snakemake take longer to load than most commands of a test take to run. `python()` is an
executable for the place of the interpreter: it passes arguments, environment, folder and streams to a server of this
test process, which forks. The package itself is not loaded before: a command takes that of its folder or of PYTHONPATH,
as always. Signals and status are those of the command, and it is killed with the client. What is no module of MODULES
runs in the interpreter itself.
"""

from __future__ import annotations

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
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path

__all__ = ["MODULES", "python"]

MODULES = ("sdseg", "snakemake", "accelerate.commands.launch")  # those that `python -m` runs in a fork
LOADED = (
    *("snakemake.cli", "snakemake.report.html_reporter", "snakemake.storage", "smart_open", "jsonschema"),
    *("numpy", "pydantic", "yaml", "PIL.Image", "cv2", "nibabel", "pydicom", "safetensors.torch", "tqdm"),
    *("torch", "torch._dynamo", "torch.export", "torch.onnx._internal.exporter", "torch.utils.data", "accelerate"),
    *("diffusers.models.autoencoders.autoencoder_kl", "diffusers.models.unets.unet_2d_condition"),
    *("onnx", "onnxscript", "onnxscript.optimizer", "onnx_ir.passes.common", "onnxruntime", "scipy.ndimage"),
)
CLIENT = """
import os, signal, socket, struct, sys, json
here = os.path.dirname(os.path.realpath(__file__))
words = sys.argv[2:] if sys.argv[1] == "-u" else sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.connect(os.path.join(here, "server"))
asked = json.dumps([words, os.getcwd(), dict(os.environ)]).encode("utf-8", "surrogateescape")
socket.send_fds(server, [struct.pack("!I", len(asked))], [0, 1, 2])
server.sendall(asked)
process = struct.unpack("!i", server.recv(4, socket.MSG_WAITALL))[0]
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _: os.kill(process, number))
status = struct.unpack("!i", server.recv(4, socket.MSG_WAITALL))[0]
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
os._exit(status)
"""
LAUNCHER = """#!/bin/sh
case "$1 $2 $3" in
{known}) exec {python!r} -IS {client!r} "$@" ;;
*) exec {python!r} "$@" ;;
esac
"""


@cache
def python() -> Path:
    """The executable, named `python`; its server starts with the first call and ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="sdseg-python-"))  # short: names of sockets have 107 bytes
    client, launcher = folder / "client.py", folder / "python"
    client.write_text(CLIENT, encoding="utf-8")
    known = "|".join(f"'{flag}-m {module} '*" for module in MODULES for flag in ("", "-u "))
    text = LAUNCHER.format(known=known, python=sys.executable, client=str(client))
    launcher.write_text(text, encoding="utf-8")
    launcher.chmod(0o755)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "server"))
    listening.listen(64)
    # Its standard input ends with this process, whatever ends that.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, __file__, str(listening.fileno()), str(launcher)],
        stdin=subprocess.PIPE,
        pass_fds=[listening.fileno()],
        cwd=folder,
        env=environment,
    )
    listening.close()
    atexit.register(_end, server, folder)
    return launcher


def _end(server: subprocess.Popen[bytes], folder: Path) -> None:
    server.communicate()
    shutil.rmtree(folder)


def _serve(listening: socket.socket, launcher: str) -> None:
    """Fork for every command until standard input ends."""
    gc.disable()
    paths = [path for path in sys.path if Path(path) != Path(__file__).parent]
    for name in LOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    runpy.run_path(str(Path(__file__).with_name("quick_exports.py")))["quicken_exports"]()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while listening in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _command(connection, paths, launcher)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _command(connection: socket.socket, paths: list[str], launcher: str) -> None:
    """Run one command in a process of its own, and tell the client its number, then its status."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    length: int = struct.unpack("!I", head)[0]
    asked = b"".join(_received(connection, length))
    words, folder, environment = json.loads(asked.decode("utf-8", "surrogateescape"))
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        connection.close()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.path[:] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *paths]
        sys.argv = ["-m", *words[2:]]
        sys.executable = launcher
        _run(words[1])
    connection.sendall(struct.pack("!i", process))
    for stream in streams:
        os.close(stream)
    if hasattr(os, "pidfd_open"):
        ended = os.pidfd_open(process)
        if connection in select.select([ended, connection], [], [])[0]:  # the client was killed
            os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    with contextlib.suppress(OSError):  # the client was killed
        connection.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _received(connection: socket.socket, length: int) -> Iterator[bytes]:
    while length > 0:
        part = connection.recv(length)
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
    _serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
