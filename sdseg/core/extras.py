"""What needs more than the package alone, and the extra that brings it: `pip install 'sdseg[train]'`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sdseg.core.errors import UserError

__all__ = ["EXTRAS", "how_to_install", "missing_extra", "needing"]

# Modules that pip brings with an extra alone (pyproject.toml), the usual one first.
EXTRAS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("cpu", "gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
    "torchvision": ("lpips",),
    "snakemake": ("workflow",),
    "SimpleITK": ("formats",),
    "scipy": ("train", "report"),
    **dict.fromkeys(("jinja2", "markupsafe"), ("report",)),
    **dict.fromkeys(("kagglesdk", "rarfile", "requests", "urllib3"), ("download",)),
    **dict.fromkeys(("accelerate", "diffusers", "monai", "safetensors", "tensorboard"), ("train",)),
    **dict.fromkeys(("torch", "torchmetrics", "imagehash", "matplotlib"), ("train",)),
    **dict.fromkeys(("onnx", "onnx_ir", "onnxscript"), ("train",)),
}


def how_to_install(*extras: str) -> str:
    """The command, of several extras those that one may choose from."""
    return ", or ".join(f"pip install 'sdseg[{extra}]'" for extra in extras)


def missing_extra(error: ImportError, task: str, extra: str | None = None) -> UserError | None:
    """What to tell of a module that cannot be imported; None for one that no extra brings, which is no user's fault.

    `task` needs it, as in "'sdseg train'"; `extra` is named where several bring the module and it is one of them.
    """
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module not in EXTRAS:
        return None
    extras = EXTRAS[module]
    chosen = (extra,) if extra in extras else extras if module == "onnxruntime" else extras[:1]
    return UserError(
        f"{task} needs the package {module}, which is not installed",
        where="the Python environment ('sdseg doctor' lists what is there)",
        remedy=how_to_install(*map(str, chosen)),
    )


@contextmanager
def needing(task: str, extra: str | None = None) -> Iterator[None]:
    """Imports within raise UserError where they miss a module of an extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        lacking = missing_extra(error, task, extra)
        if lacking is None:
            raise
        raise lacking from None
