"""What changes the fingerprint of a stage, and what does not."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sdseg.core.fingerprint import NO_CAUSE, OF_SETTINGS, PACKAGE, code_of, fingerprint
from sdseg.core.settings import Strict

Edit = Callable[[str, str, str], set[str]]
STAGES = (
    *("training.codec", "training.train", "evaluation.evaluate", "export.onnx", "export.tensorrt", "report.report"),
    *("download.download", "datasets.phantoms.write", "datasets.split", "data.prepare"),
)


@pytest.fixture
def edit(tmp_path: Path) -> Edit:
    """Replaces a part of one file in a copy of the package; the stages whose fingerprint that changes."""
    count = iter(range(9))

    def edited(name: str, before: str, after: str) -> set[str]:
        copy = tmp_path / str(next(count))
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        text = (copy / name).read_text("utf-8")
        assert before in text
        (copy / name).write_text(text.replace(before, after, 1), "utf-8")
        return {stage for stage in STAGES if fingerprint(stage, copy) != fingerprint(stage)}

    return edited


LOSS = "functional.l1_loss if settings.distance"


def test_a_changed_line_changes_the_stages_that_run_it(edit: Edit) -> None:
    changed = edit("models/diffusion.py", LOSS, "functional.smooth_l1_loss if settings.distance")
    assert "training.train" in changed
    assert not {"data.prepare", "datasets.split", "datasets.phantoms.write", "report.report"} & changed


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("models/diffusion.py", "    distance = ", "    # Another word.\n    distance = "),
        ("models/diffusion.py", '"""The diffusion process', '"""Another word: the diffusion process'),
        ("models/diffusion.py", "\n\n\ndef losses(", "\n\n\n\n\ndef losses("),
        ("training/train.py", "Raises UserError for a store", "Raises Errors for a store"),  # a docstring
        ("core/errors.py", "class", "CONSTANT = 1\n\n\nclass"),  # messages
        ("config/run.py", '= "results"', '= "elsewhere"'),  # arrives by settings files
        ("config/training.py", "steps: int = Field(100_000", "steps: int = Field(200_000"),
        (
            "config/noise_process.py",
            "raise ValueError(\"'beta_end'",
            "raise ValueError(\"The 'beta_end'",
        ),  # in a validator
        ("config/trained_models.py", "latent: Weight = 1.0", "latent: Weight = 2.0"),
        ("__init__.py", "__version__ = ", "__version__ = 'new' + "),
        ("core/provenance.py", '"machine":', '"computer":'),
    ],
)
def test_what_computes_nothing_changes_nothing(edit: Edit, name: str, before: str, after: str) -> None:
    assert edit(name, before, after) == set()


def test_what_settings_compute_counts(edit: Edit) -> None:
    assert "training.train" in edit("config/network.py", "return 1 << (len", "return 2 << (len")


def test_every_section_of_settings_is_known_as_one() -> None:
    """A field that is added to one, with a default, is no other code: unfinished trainings go on."""
    reached = {name for stage in STAGES for name in code_of(stage) if name.startswith("sdseg.config.")}
    modules = {name: importlib.import_module(name) for name in reached}
    sections = {
        name
        for name, module in modules.items()
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Strict) and each.__module__ == name
    }
    assert sections == OF_SETTINGS
    assert not sections & NO_CAUSE


def test_imports_inside_functions_are_followed() -> None:
    """`strong` augmentation is imported where it is used, since MONAI is slow to load."""
    assert "sdseg.data.augmentation" in code_of("training.train")
    assert "sdseg.data" in code_of("training.train")  # what lies above a module runs too


def test_what_is_imported_for_types_alone_is_not_followed(tmp_path: Path) -> None:
    for name, text in {
        "one.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from sdseg.two import Two\n",
        "two.py": "Two = 1\n",
        "three.py": "import sdseg.two\n",
    }.items():
        (tmp_path / name).write_text(text, "utf-8")
    assert set(code_of("one", tmp_path)) == {"sdseg.one"}
    assert set(code_of("three", tmp_path)) == {"sdseg.three", "sdseg.two"}
    with pytest.raises(ValueError, match=r"no module sdseg\.four in "):
        code_of("four", tmp_path)


def test_what_python_compiles_does_not_count(tmp_path: Path) -> None:
    copy = tmp_path / "sdseg"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in ("report", "core"):
        (copy / folder / "__pycache__").mkdir()
        (copy / folder / "__pycache__" / "page.cpython-311.pyc.139").write_bytes(b"half written")
    assert fingerprint("report.report", copy) == fingerprint("report.report")


def test_templates_belong_to_the_page_alone(edit: Edit) -> None:
    assert edit("report/templates/page.css", "{", "{ ") == {"report.report"}


def test_what_was_read_is_kept_beside_what_is_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same checksums from it, of a text that changed, where it is damaged, and where none can be written."""
    reading = sys.modules[fingerprint.__module__]
    package, kept = tmp_path / "package", tmp_path / "kept.json"
    package.mkdir()
    module = package / "one.py"

    def computed(text: str, *, unread: bool = False) -> dict[str, str]:
        module.write_text(text, "utf-8")
        for known in (reading._read, reading._kept, code_of):
            known.cache_clear()
        with monkeypatch.context() as patched:
            patched.setattr(reading, "KEPT", kept)
            if unread:
                patched.setattr("ast.parse", None)
            return code_of("one", package)

    expected = computed("import sdseg.two\nONE = 1\n")
    assert computed("import sdseg.two\nONE = 1\n", unread=True) == expected
    assert computed("import sdseg.two\nONE = 2\n") != expected
    for damaged in ("{", "[]", '{"reader": "another", "texts": {}}', '{"texts": 1}'):
        kept.write_text(damaged, "utf-8")
        assert computed("import sdseg.two\nONE = 1\n") == expected
        assert computed("import sdseg.two\nONE = 1\n", unread=True) == expected
    kept.unlink()
    kept.mkdir()
    assert computed("import sdseg.two\nONE = 1\n") == expected
    assert {path.name for path in tmp_path.iterdir()} == {"package", "kept.json"}


def test_it_is_quick_and_needs_the_standard_library_alone() -> None:
    """Planning asks for every stage; the quickest of three, as another process may be busy."""
    code = (
        "import sys, time\nbefore = time.perf_counter()\nfrom sdseg.core.fingerprint import fingerprint\n"
        f"for stage in {STAGES}:\n    fingerprint(stage)\n"
        "print(time.perf_counter() - before)\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "sys.exit(', '.join(loaded & {'numpy', 'pydantic', 'yaml', 'torch', 'cv2'}) or 0)\n"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, done.stderr
        seconds.append(float(done.stdout))
        time.sleep(0.05)
    assert min(seconds) < 1.5
