"""A command of a loaded Python is the command itself: arguments, streams, status, signals, and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdseg.core.loaded_python import start_loaded_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux forks what has loaded PyTorch")

COMMAND = """
import os, signal, sys, time
import {library}
word = sys.argv[1]
if word == "tell":
    here = {library}.loaded_by == os.getpid()
    print(sys.argv[1:], os.getcwd(), os.environ["TOLD"], here, os.path.basename(sys.executable))
    print(sys.stdin.read(), file=sys.stderr)
elif word == "exit":
    sys.exit(int(sys.argv[2]) if sys.argv[2].isdigit() else sys.argv[2])
elif word == "fail":
    raise ValueError("no such thing")
elif word == "wait":
    try:
        print(os.getpid(), flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(3)
"""
Command = Callable[..., list[str]]
GONE = (
    "the Python that has loaded the libraries ended, or had no memory or process left, before this command was done: "
    "run it again\n"
)
ONCE = """
import os
def failing(call):
    calls = []
    def once(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("none left")
        return call(*arguments)
    return once
os.{function} = failing(os.{function})
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """`python -m spoken …` of a Python that has loaded `heavy`, which counts who loads it."""
    folder = tmp_path_factory.mktemp("loaded")
    (folder / "heavy.py").write_text("import os\nloaded_by = os.getpid()\n")
    (folder / "spoken.py").write_text(COMMAND.format(library="heavy"))
    (folder / "ready.py").write_text(f"import sys; sys.path.insert(0, {str(folder)!r}); import heavy\n")
    launcher = start_loaded_python(["no_such_library", str(folder / "ready.py")], ["-m spoken"])

    def words(*words: str) -> list[str]:
        return [str(launcher), *words]

    return words


def run(words: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, encoding="utf-8", check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_a_command_has_its_words_streams_folder_and_environment(command: Command, tmp_path: Path) -> None:
    environment = os.environ | {"TOLD": "é"}
    done = run(command("-m", "spoken", "tell", "a b", ""), cwd=tmp_path, env=environment, input="spoken to")
    assert (done.returncode, done.stderr) == (0, "spoken to\n")
    assert done.stdout == f"{['tell', 'a b', '']} {tmp_path} é False python\n"  # False: loaded by the server


def test_what_is_not_named_runs_in_the_interpreter_itself(command: Command, tmp_path: Path) -> None:
    done = run(command("-c", "import sys; print(sys.executable, 'heavy' in sys.modules)"), cwd=tmp_path)
    assert done.stdout == f"{sys.executable} False\n"


@pytest.mark.parametrize(
    ("words", "status", "error"),
    [(("exit", "7"), 7, ""), (("exit", "a reason"), 1, "a reason\n"), (("fail",), 1, "ValueError: no such thing\n")],
)
def test_it_ends_as_the_command_does(command: Command, words: tuple[str, ...], status: int, error: str) -> None:
    done = run(command("-u", "-m", "spoken", *words))
    assert done.returncode == status
    assert done.stderr.endswith(error)


def waiting(command: Command, on_interrupt: signal.Handlers = signal.SIG_DFL) -> tuple[subprocess.Popen[str], int]:
    """A command that waits, and its process; `on_interrupt` is what its caller does with SIGINT."""
    started = subprocess.Popen(
        command("-m", "spoken", "wait"),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        preexec_fn=lambda: signal.signal(signal.SIGINT, on_interrupt),
    )
    assert started.stdout is not None
    return started, int(started.stdout.readline())


def lives(process: int) -> bool:
    """Whether it does after a while."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        stat = Path(f"/proc/{process}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return False
        time.sleep(0.02)
    return True


def test_signals_are_passed_on(command: Command) -> None:
    started, _ = waiting(command)
    started.send_signal(signal.SIGINT)
    assert started.communicate(timeout=20) == ("interrupted\n", None)
    assert started.returncode == 3
    started, _ = waiting(command)
    started.send_signal(signal.SIGTERM)
    started.communicate(timeout=20)
    assert started.returncode == -signal.SIGTERM


def test_a_signal_that_the_caller_ignores_is_not_passed_on(command: Command) -> None:
    started, process = waiting(command, signal.SIG_IGN)
    started.send_signal(signal.SIGINT)
    started.send_signal(signal.SIGTERM)
    assert started.communicate(timeout=20) == ("", None)
    assert started.returncode == -signal.SIGTERM
    assert not lives(process)


def test_it_is_killed_with_its_caller(command: Command) -> None:
    started, process = waiting(command)
    started.kill()
    started.communicate(timeout=20)
    assert not lives(process)


def test_it_is_killed_with_a_caller_that_did_not_wait_for_the_libraries(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(2)")
    (tmp_path / "tell.py").write_text(
        "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    )
    launcher = start_loaded_python([str(tmp_path / "slow.py")], ["-m tell"])
    early = subprocess.Popen([str(launcher), "-m", "tell", "early"], cwd=tmp_path)
    time.sleep(0.7)
    early.kill()
    early.wait()
    late = subprocess.Popen([str(launcher), "-m", "tell", "late"], cwd=tmp_path)  # the server goes on
    end = time.monotonic() + 20
    while not (tmp_path / "late").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert (tmp_path / "late").exists()
    late.kill()
    late.wait()
    time.sleep(0.2)
    for name in ("early", "late"):
        started = (tmp_path / name).read_text() if (tmp_path / name).exists() else ""
        assert not started or not lives(int(started))


def test_pytorch_takes_as_many_threads_as_the_command_asks_for(tmp_path: Path) -> None:
    (tmp_path / "threads.py").write_text("import torch; print(torch.get_num_threads())")
    launcher = start_loaded_python(["torch"], ["-m threads"], os.environ | {"OMP_NUM_THREADS": "1"})
    for asked in ("1", "2"):
        environment = os.environ | {"OMP_NUM_THREADS": asked}
        assert run([str(launcher), "-m", "threads"], cwd=tmp_path, env=environment).stdout == f"{asked}\n"


OWNER = """
import sys
from sdseg.core.loaded_python import start_loaded_python
print(start_loaded_python(sys.argv[2:], ["-m this", "-m spoken"]), flush=True)
if sys.argv[1] == "wait":
    sys.stdin.read()
"""


@pytest.mark.parametrize("kill", [False, True])
def test_its_server_and_folder_end_with_who_started_it(kill: bool) -> None:
    words = [sys.executable, "-c", OWNER, "wait" if kill else "end"]
    owner = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().strip()).parent
    assert folder.name.startswith("sdseg-python-")
    if kill:
        owner.kill()
    owner.communicate(timeout=20)
    end = time.monotonic() + 20
    while folder.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not folder.exists()


@pytest.mark.parametrize("function", ["fork", "pidfd_open"])
def test_one_call_that_cannot_be_served_ends_its_own_command_alone(tmp_path: Path, function: str) -> None:
    (tmp_path / "once.py").write_text(ONCE.format(function=function))
    (tmp_path / "tell.py").write_text("import time; time.sleep(0.2); print('told')")
    launcher = start_loaded_python([str(tmp_path / "once.py")], ["-m tell"])
    done = [run([str(launcher), "-m", "tell", "it"], cwd=tmp_path) for _ in range(3)]
    assert [one.returncode for one in done] == [0, 1, 0]
    assert [one.stdout for one in done] == ["told\n", "", "told\n"]
    assert done[1].stderr == GONE


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], subprocess.Popen[str], int]]:
    """Who started a loaded Python, the caller of a command of it that waits, and the command's process."""
    (tmp_path / "heavy.py").write_text("")
    (tmp_path / "spoken.py").write_text(COMMAND.format(library="heavy"))
    options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    with subprocess.Popen([sys.executable, "-c", OWNER, "wait"], stdin=subprocess.PIPE, **options) as owner:
        assert owner.stdout is not None
        launcher = owner.stdout.readline().strip()
        options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # or it is passed on nowhere
        with subprocess.Popen([launcher, "-m", "spoken", "wait"], cwd=tmp_path, **options) as caller:
            assert caller.stdout is not None
            yield owner, caller, int(caller.stdout.readline())
            caller.kill()
        owner.kill()


@pytest.mark.parametrize("kill", [False, True])
def test_a_command_outlives_who_started_the_python(owned: tuple[Any, Any, int], kill: bool) -> None:
    """Who comes to its end by itself waits for the server, and not as long as the command runs."""
    owner, caller, _ = owned
    if kill:
        owner.kill()
    else:
        owner.stdin.close()
    assert owner.wait(timeout=20) == (-signal.SIGKILL if kill else 0)  # the server keeps its streams
    time.sleep(0.3)
    assert caller.poll() is None
    caller.send_signal(signal.SIGINT)
    assert caller.communicate(timeout=20) == ("interrupted\n", "")
    assert caller.returncode == 3


def test_a_command_is_killed_with_the_server_as_where_memory_ends(owned: tuple[Any, Any, int]) -> None:
    _, caller, process = owned
    server = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(server, signal.SIGKILL)
    _, error = caller.communicate(timeout=20)
    assert caller.returncode == 1
    assert error == GONE
    assert not lives(process)


def test_a_caller_whose_python_ended_while_it_loaded_says_so(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(1.5)")
    words = [sys.executable, "-c", OWNER, "wait", str(tmp_path / "slow.py")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as owner:
        assert owner.stdout is not None
        launcher = owner.stdout.readline().strip()
        with subprocess.Popen([launcher, "-m", "this", "it"], stderr=subprocess.PIPE, encoding="utf-8") as caller:
            time.sleep(0.5)
            owner.kill()
            _, error = caller.communicate(timeout=20)
    assert (caller.returncode, error) == (1, GONE)


def test_where_the_server_is_gone_a_command_loads_its_libraries_itself(tmp_path: Path) -> None:
    """As when a job outlives the run that started it."""
    words = [sys.executable, "-c", OWNER, "end"]
    launcher = Path(subprocess.run(words, capture_output=True, encoding="utf-8", check=True).stdout.strip())
    client = Path(start_loaded_python.__code__.co_filename).with_name("loaded_python_client.py")
    done = run([sys.executable, "-IS", str(client), str(launcher.parent / "server"), "-m", "this"], cwd=tmp_path)
    assert done.returncode == 0
    assert "Beautiful is better than ugly." in done.stdout
    assert done.stderr == "the Python that has loaded the libraries is gone: this command loads them itself\n"
