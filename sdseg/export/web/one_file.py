"""Everything the page needs as one HTML text: markup, style, scripts, runtime, model; and the policy that seals it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from pathlib import Path
from typing import Any

from sdseg.core.errors import UserError

__all__ = ["ASSETS", "one_file", "runtime_version"]

ASSETS = Path(__file__).parent / "assets"  # built by `npm run build` in web/
# Nothing is fetched, nothing is sent; what runs is named by its hash. 'wasm-unsafe-eval' lets WebAssembly be compiled,
# and no JavaScript; blob: is what the page itself unpacks, its worker and the runtime.
POLICY = (
    "default-src 'none'; script-src '{script}' 'wasm-unsafe-eval' blob:; style-src '{style}'; worker-src blob:; "
    "img-src data: blob:; connect-src 'none'; base-uri 'none'; form-action 'none'"
)


def one_file(contract: dict[str, Any], model: bytes | None, sample: bytes | None) -> str:
    """The page. `model`: None where it lies beside it. Raises UserError where the package lacks its assets."""
    script, style = _asset("app.js").decode("utf-8"), _asset("page.css").decode("utf-8").strip()
    blocks = {
        "worker": _packed(_asset("worker.js")),
        "runtime": _base64(_asset("ort.mjs.gz")),
        "wasm": _base64(_asset("ort.wasm.gz")),
        "licence-text": _base64(_asset("licences.txt.gz")),
    }
    if contract["webgpu"] is not None:
        blocks |= {
            "gpu-runtime": _base64(_asset("ort.webgpu.mjs.gz")),
            "gpu-wasm": _base64(_asset("ort.webgpu.wasm.gz")),
        }
    if contract["modality"] != "rgb":
        blocks["viewer"] = _base64(_asset("viewer.mjs.gz"))  # of volumes
    if model is not None:
        blocks["model"] = _packed(model)
    if sample is not None:
        blocks["sample"] = _base64(sample)
    structures = ", ".join(one["name"] for one in contract["structures"])
    values = {
        "policy": POLICY.format(script=_hash(script), style=_hash(style)),
        "title": html.escape(f"Segment {structures}"),
        "style": style,
        "script": script,
        "data": "\n".join(_data(name, text) for name, text in {"contract": _json(contract), **blocks}.items()),
    }
    parts = _asset("page.html").decode("utf-8").split("@@")  # text, name, text, name, …, text
    return "".join(values[part] if index % 2 else part for index, part in enumerate(parts))


def runtime_version() -> str:
    """Name and version of the runtime in the assets, as its licence names them."""
    lines = gzip.decompress(_asset("licences.txt.gz")).decode("utf-8").splitlines()
    return next(" ".join(line.split()[:2]) for line in lines if line.startswith("onnxruntime-web "))


def _asset(name: str) -> bytes:
    try:
        return (ASSETS / name).read_bytes()
    except OSError:
        raise UserError(
            "the page's parts are missing from this installation of sdseg",
            where=ASSETS / name,
            remedy="install the package again; in a copy of the repository: make web",
        ) from None


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}"


def _packed(data: bytes) -> str:
    return _base64(gzip.compress(data, 9, mtime=0))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _json(value: dict[str, Any]) -> str:
    """Without any character that could end the element it stands in."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _data(name: str, text: str) -> str:
    """Data, which a browser neither shows nor runs."""
    return f'<script type="text/plain" id="{name}">{text}</script>'
