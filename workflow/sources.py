"""Which code each rule depends on: an edit of it runs the rule again (sdseg/core/fingerprint.py)."""

from __future__ import annotations

from pathlib import Path

import sdseg
from sdseg.core.files import sha256_file, sha256_text
from sdseg.core.fingerprint import fingerprint

__all__ = ["MODULES", "code_of", "parts_of_page"]

PARTS = Path(sdseg.__file__).resolve().parent / "export" / "web" / "assets"

MODULES = {  # the module of the package whose public function a rule's command ends in
    "raw_phantoms": "datasets.phantoms.write",
    "raw_record": "download.download",
    "made_split": "datasets.split",
    "slice_store": "data.prepare",
    "made_folds": "data.folds",
    "codec_model": "training.codec",
    "dataset_codec": "training.codec",
    "model": "training.train",
    "ensemble": "training.make_ensemble",
    "scores": "evaluation.evaluate",
    "out_of_fold": "evaluation.evaluate",
    "model_studies": "evaluation.studies.run",
    "graph": "export.onnx",
    "engine": "export.tensorrt",
    "web_page": "export.web.html_file",
    "report": "report.report",
    "latencies": "backends.open_model",  # the runtimes that benchmarks/pareto.py calls
    "pareto": "report.report",
}


def code_of(rule: str) -> str:
    """The fingerprint of the code that a rule runs."""
    return fingerprint(MODULES[rule])


def parts_of_page() -> str:
    """The fingerprint of what every web page is put together from."""
    return sha256_text("".join(f"{path.name} {sha256_file(path)}\n" for path in sorted(PARTS.iterdir())))
