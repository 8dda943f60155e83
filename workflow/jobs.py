"""What every job's command starts with, whatever it runs."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from sdseg.core.loaded_python import forks_loaded_python, start_loaded_python
from sdseg.core.locks import WHEN_BUSY

__all__ = ["ROOT", "leave_out_user_site", "preload", "shell_prefix", "why_not_preload"]

ROOT = Path(__file__).resolve().parent.parent

# What the stages load, apart from the package itself: with `preload`, once for all jobs.
LIBRARIES = (
    *("numpy", "pydantic", "yaml", "PIL.Image", "cv2", "nibabel", "safetensors.torch", "tqdm", "scipy.ndimage"),
    *("torch", "torch._dynamo", "torch.export", "torch.onnx._internal.exporter", "torch.utils.data"),
    *("torch._functorch.aot_autograd", "monai.networks.nets"),
    *("diffusers.models.autoencoders.autoencoder_kl", "diffusers.models.unets.unet_2d_condition"),
    *("onnx", "onnxscript", "onnxscript.optimizer", "onnxscript.function_libs.torch_lib.ops"),
    *("onnx_ir.passes.common", "onnxruntime"),
)
# Not `prepare`, which Snakemake measures: it sees no process but its own children. Nor what loads next to nothing.
PRELOADED = tuple(
    f"-m sdseg {verb}" for verb in ("phantoms", "codec", "train", "ensemble", "evaluate", "export", "report")
)


def why_not_preload(*, device: str, own_environments: bool, elsewhere: bool) -> str | None:
    """What keeps the jobs of a run from being forks of one Python; None where they can be."""
    if not forks_loaded_python():
        return "this system does not fork what has loaded PyTorch (Linux does)"
    if device != "cpu":
        return "CUDA does not survive a fork, should a library have woken it while it was loaded"
    if own_environments:
        return "jobs have environments of their own"
    return "jobs run on other machines" if elsewhere else None


def preload(threads: int) -> Path:
    """Load the libraries, beside the first jobs; returns the folder of the `python` whose commands are forks of it."""
    return start_loaded_python(LIBRARIES, PRELOADED, os.environ | {"OMP_NUM_THREADS": str(threads)}).parent


def shell_prefix(*, own_environments: bool, python: Path | None = None) -> str:
    """What every job's command starts with.

    PYTHONPATH is set in the command: Snakemake takes an exported one away from jobs in conda environments. Without
    those a stage runs on the Python that runs Snakemake, whether its environment is activated or not, or on the one in
    the folder `python`, which has loaded the libraries. Packages in the user's ~/.local come before those of a conda
    environment, so there they are left out. `begin LOG` marks a new try in a log: those of earlier ones are kept. A job
    waits for a process that still writes its output, left by a killed run.
    Raises WorkflowError for environments of their own where sdseg was installed from a wheel: they would lack it.
    """
    if own_environments and not (ROOT / "sdseg").is_dir():
        raise WorkflowError(
            "--use-conda needs a checkout of sdseg: the jobs' environments hold the libraries, and take sdseg from it\n"
            "  remedy: run the Snakefile of a checkout, or leave --use-conda out after pip install 'sdseg[cpu,all]'"
        )
    prefix = """begin() { echo "== $(date '+%F %T')" >> "$1"; }; """
    prefix += f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(ROOT))} {WHEN_BUSY}=wait; "
    if own_environments:
        prefix += "export PYTHONNOUSERSITE=1; "
    else:
        folders = [*([str(python)] if python else []), os.path.dirname(sys.executable)]
        prefix += f"export PATH={shlex.quote(os.pathsep.join(folders))}:$PATH; "
    return prefix.replace("{", "{{").replace("}", "}}")


def leave_out_user_site() -> None:
    """When conda makes an environment, its pip, too, would take what is in ~/.local for installed."""
    os.environ["PYTHONNOUSERSITE"] = "1"
