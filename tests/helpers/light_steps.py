"""What a user does with a light install, in one process of its Python: arguments are a folder and two graphs.

Prints JSON: status and words of each step. Nothing of the checkout is imported.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from pathlib import Path

import sdseg
from sdseg.cli.commands import main

# Verbs that need an extra, with arguments that pass the parser, and the extra.
LACKING = {
    "train --prepared p --recipe sdseg --output m": "train",
    "distill --prepared p --student sdseg-fast --teacher t --output m": "train",
    "codec --settings f --output c": "train",
    "convert --weights w --codec codec.yaml --recipe sdseg --output m": "train",
    "ensemble --model a --model b --output e": "train",
    "evaluate --prepared p --model m --output e": "train",
    "export --model m --prepared p --output e": "train",
    "phantoms --source kseg --output k": "train",
    "prepare --name kseg --settings kseg.yaml --raw r --split s.csv --output p": "train",
    "estimate config/demo.yaml": "train",
    "configure none --output my.yaml": "train",
    "report --results r": "report",
    "download --source kseg --raw none --output r.json --fetch --accept-terms": "download",
}


def run(words: list[str]) -> tuple[int, str]:
    """Exit status and all that was printed."""
    shown = io.StringIO()
    logging.getLogger().handlers.clear()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
        try:
            status = main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return status, shown.getvalue()


def steps(folder: Path, rgb: str, ct: str) -> dict[str, tuple[int, str]]:
    """Every step by its name."""
    Path("codec.yaml").write_text("{weights: w}", encoding="utf-8")
    Path("kseg.yaml").write_text("{source: kseg}", encoding="utf-8")
    photo, volume, series = (str(folder / name) for name in ("photo.png", "ct.nii.gz", "series"))
    done = {
        "image": run(["predict", "--model", rgb, photo, "--output", "out", "--overlay"]),
        "volumes": run(["predict", "--model", ct, volume, series, "--output", "out"]),
        "metaimage": run(["predict", "--model", ct, str(folder / "ct.mha"), "--output", "out"]),
        "model folder": run(["predict", "--model", str(folder / "model"), photo, "--output", "out"]),
        "openvino": run(["predict", "--model", rgb, "--device", "openvino", photo, "--output", "no"]),
        "doctor": run(["doctor"]),
        "files": run(["--files"]),
        "configuration": run(["doctor", "--config", "config/config.yaml"]),
        "download": run(["download", "--source", "kseg", "--raw", "none", "--output", "r.json"]),
    }
    done |= {command: run(command.split()) for command in LACKING}
    loaded = {"torch", "diffusers", "monai", "onnx", "scipy", "SimpleITK"} & {
        name.partition(".")[0] for name in sys.modules
    }
    done["loaded"] = (len(loaded), " ".join(loaded))
    done["at"] = (0, str(Path(sdseg.__file__).parent))
    return done


if __name__ == "__main__":
    print(json.dumps(steps(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
