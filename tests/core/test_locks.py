"""One writer of an output at a time, whoever started it, and nothing left behind by one that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder
from sdseg.core.leftovers import remove_leftovers
from sdseg.core.locks import WHEN_BUSY, holder_of, lock_file, locked, writes

HOLD = """
import sys, time
from pathlib import Path
from sdseg.core.locks import locked
with locked(*map(Path, sys.argv[1:])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another(*outputs: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that writes these outputs."""
    command = [sys.executable, "-c", HOLD, *outputs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_writer_is_told_who_is_the_first(tmp_path: Path) -> None:
    output = tmp_path / "results é" / "model"
    with another(output) as first:
        with (
            pytest.raises(UserError, match=rf"another run is writing here: process {first.pid} on .*, since 20.* \(-c"),
            locked(output),
        ):
            pass
        assert str(holder_of(lock_file(output))).startswith(f"process {first.pid} on ")
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert holder_of(lock_file(output)) is None
    with locked(output):
        assert str(holder_of(lock_file(output))).startswith(f"process {os.getpid()} on ")
    assert not any(tmp_path.rglob(".*"))


def test_other_outputs_are_not_concerned(tmp_path: Path) -> None:
    with another(tmp_path / "model"), locked(tmp_path / "last"):
        pass


def test_one_of_several_is_enough(tmp_path: Path) -> None:
    with another(tmp_path / "a" / "state"):
        with pytest.raises(UserError, match="another run"), locked(tmp_path / "model", tmp_path / "a" / "state"):
            pass
        with locked(tmp_path / "model"):  # let go again
            pass


@pytest.mark.parametrize("way", ["../{0}/model", "link/model"])
def test_another_way_to_write_the_same_path(tmp_path: Path, way: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    with (
        another(tmp_path / "model"),
        pytest.raises(UserError, match="another run"),
        locked(tmp_path / way.format(tmp_path.name)),
    ):
        pass


def test_a_job_of_the_workflow_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WHEN_BUSY, "wait")
    output = tmp_path / "model"
    with another(output) as first:
        threading.Timer(0.3, first.kill).start()
        began = time.monotonic()
        with locked(output):
            assert time.monotonic() - began > 0.2
            with pytest.raises(UserError, match="another run"), locked(output, wait=False):
                pass
    assert not any(tmp_path.iterdir())


def test_many_that_wait_come_one_after_the_other(tmp_path: Path) -> None:
    """The file is removed at every end and made anew: no two may hold two files of one name."""
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(40):
            with locked(tmp_path / "a", wait=True):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not any(tmp_path.iterdir())


def test_folders_made_for_a_lock_go_with_it(tmp_path: Path) -> None:
    with locked(tmp_path / "a" / "b" / "model"):
        pass
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"), locked(tmp_path / "file" / "model"):
        pass


def test_a_stage_holds_what_it_writes(tmp_path: Path) -> None:
    @writes("output", "last")
    def stage(name: str, output: Path, last: Path | None = None) -> list[str]:
        return [*sorted(path.name for path in tmp_path.iterdir()), name]

    assert stage("x", tmp_path / "a") == [".a.lock", "x"]
    assert stage(name="x", output=tmp_path / "a", last=tmp_path / "b") == [".a.lock", ".b.lock", "x"]


def test_of_several_processes_the_first_alone_takes_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with another(tmp_path / "model"), locked(tmp_path / "model"):
        pass


STAGES = [
    ("sdseg.datasets.split", "split", {"output"}),
    ("sdseg.training.codec", "build_codec", {"output"}),
    ("sdseg.training.train", "train", {"output", "last", "state"}),
    ("sdseg.evaluation.evaluate", "evaluate", {"output"}),
    ("sdseg.evaluation.evaluate", "evaluate_masks", {"output"}),
    ("sdseg.evaluation.studies.run", "study", {"output"}),
    ("sdseg.export.onnx", "export", {"output"}),
    ("sdseg.download.download", "download", {"output"}),
    ("sdseg.datasets.phantoms.write", "phantoms", {"output"}),
    ("sdseg.models.pretrained.convert", "convert_official", {"output", "codec_output"}),
    ("sdseg.models.pretrained.convert", "convert_ldm", {"output", "codec_output"}),
    ("sdseg.models.pretrained.convert", "convert_stable_diffusion", {"output", "codec_output"}),
    ("sdseg.models.pretrained.convert", "convert_codec", {"output"}),
]


@pytest.mark.parametrize(("module", "stage", "outputs"), STAGES, ids=[f"{one} {two}" for one, two, _ in STAGES])
def test_every_stage_refuses_an_output_that_another_writes(
    tmp_path: Path, module: str, stage: str, outputs: set[str]
) -> None:
    """Before anything else is looked at: what the other arguments are does not matter."""
    import importlib
    import inspect

    function = getattr(importlib.import_module(module), stage)
    with another(tmp_path / "busy"):
        for busy in outputs:
            arguments = {
                name: tmp_path / ("busy" if name == busy else name)
                for name, parameter in inspect.signature(function).parameters.items()
                if parameter.default is inspect.Parameter.empty or name in outputs
            }
            with pytest.raises(UserError, match="another run is writing here"):
                function(**arguments)


# What killed writers leave

KILLED = """
import os, signal, sys
from pathlib import Path
from sdseg.core import files

def replace(source, target, replace=os.replace, calls=[]):
    calls.append(target)
    if len(calls) > int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)

os.replace = replace
with files.atomic_folder(Path(sys.argv[1]), ("old",)) as folder:
    (folder / "new").touch()
"""


@pytest.mark.parametrize("replacements", [0, 1], ids=["before the first", "between the two"])
def test_a_folder_whose_replacement_was_killed_is_whole_again(tmp_path: Path, replacements: int) -> None:
    path = tmp_path / "model é [1]"
    with atomic_folder(path, ()) as folder:
        (folder / "old").touch()
    subprocess.run([sys.executable, "-c", KILLED, path, str(replacements)], check=False)
    assert path.exists() == (replacements == 0)
    with locked(path):
        pass
    assert [entry.relative_to(tmp_path).as_posix() for entry in tmp_path.rglob("*")] == [path.name, f"{path.name}/old"]


def test_nothing_but_ours_is_removed(tmp_path: Path) -> None:
    ours = (".a.0123abcd.part", ".a._______z.old")
    kept = ("a", ".a.part", ".a.0123ABCD.part", ".ab.0123abcd.part", "a.0123abcd.part", ".a.0123abcd.part.gz", ".a.old")
    for name in (*ours, *kept):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "a")
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
    remove_leftovers(tmp_path, within=True)
    assert {path.name for path in tmp_path.iterdir()} == set(kept) - {".ab.0123abcd.part"}
    remove_leftovers(tmp_path / "no folder" / "a")
