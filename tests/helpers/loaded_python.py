"""The loaded Python of these tests: `python -m sdseg …` and Snakemake's runs, with its jobs, in less time.

PyTorch, diffusers and Snakemake take longer to load than most commands of a test take to run.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from sdseg.core.loaded_python import start_loaded_python

__all__ = ["FORKED", "SHARED", "python"]

SHARED = "SDSEG_TESTS_LOADED_PYTHON"  # set in the workers of pytest-xdist: the executable of who started them
FORKED = ("-m sdseg", "-m snakemake", "-m accelerate.commands.launch", "-m tests.helpers.full_disk")
LOADED = (
    *("snakemake.cli", "snakemake.report.html_reporter", "snakemake.storage", "smart_open", "jsonschema"),
    *("numpy", "pydantic", "yaml", "PIL.Image", "cv2", "nibabel", "pydicom", "safetensors.torch", "tqdm"),
    *("torch", "torch._dynamo", "torch.export", "torch.onnx._internal.exporter", "torch.utils.data", "accelerate"),
    *("torch._functorch.aot_autograd", "monai.networks.nets", "torchmetrics", "matplotlib.figure"),
    *("diffusers.models.autoencoders.autoencoder_kl", "diffusers.models.unets.unet_2d_condition"),
    *("onnx", "onnxscript", "onnxscript.optimizer", "onnxscript.function_libs.torch_lib.ops"),
    *("onnx_ir.passes.common", "onnxruntime", "scipy.ndimage"),
    *(str(Path(__file__).with_name(name)) for name in ("quick_decomposition.py", "quick_exports.py")),
)


@cache
def python() -> Path:
    """The executable, named `python`; its server starts with the first call and ends with this process."""
    shared = os.environ.get(SHARED)
    return Path(shared) if shared else start_loaded_python(LOADED, FORKED)
