"""What stands for a command of a loaded Python where it was called: `client.py SERVER [-u] -m MODULE …`.

Passes the call on, then signals to the command, and ends as the command does. Only modules that load at once.
"""

import contextlib
import json
import os
import signal
import socket
import struct
import sys

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    path, words = sys.argv[1], sys.argv[2:]
    call = json.dumps([words[words[0] == "-u" :], os.getcwd(), dict(os.environ)]).encode("utf-8", "surrogateescape")
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(path)
    except OSError:
        print("the Python that has loaded the libraries is gone: this command loads them itself", file=sys.stderr)
        os.execv(sys.executable, [sys.executable, *words])
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is a command to pass them on to
    with contextlib.suppress(ConnectionError):  # the server has ended, as its answer tells
        socket.send_fds(server, [struct.pack("!I", len(call))], [0, 1, 2])
        server.sendall(call)
    process = _number(server)
    for number in PASSED_ON:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as below nohup
            signal.signal(number, lambda number, _: _pass_on(process, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    status = _number(server)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _pass_on(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended
        os.kill(process, number)


def _number(server: socket.socket) -> int:
    answer = b""
    with contextlib.suppress(ConnectionError):
        answer = server.recv(4, socket.MSG_WAITALL)
    if len(answer) < 4:
        sys.exit(
            "the Python that has loaded the libraries ended, or had no memory or process left, before this command was "
            "done: run it again"
        )
    number: int = struct.unpack("!i", answer)[0]
    return number


if __name__ == "__main__":
    main()
