"""Whether TensorRT can be used here, without importing it: package, version, GPU; and why not, with the remedy."""

from __future__ import annotations

import shutil
import subprocess
from importlib import metadata

from packaging.specifiers import SpecifierSet

from sdseg.core.errors import UserError

__all__ = ["PACKAGES", "SUPPORTED", "check_version", "installed_version", "require_tensorrt", "why_not_here"]

SUPPORTED = SpecifierSet(">=11.4,<12")  # as the extra `tensorrt` of pyproject.toml
PACKAGES = ("tensorrt-cu13", "tensorrt", "tensorrt-cu13-bindings")  # any of them brings the module `tensorrt`
INSTALL = "pip install 'sdseg[tensorrt]' on a machine with an NVIDIA GPU (docs/tensorrt.md)"


def installed_version() -> str | None:
    """Version of the TensorRT package that is installed, whatever it is; None where there is none."""
    for name in PACKAGES:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def check_version(version: str) -> None:
    """Raise UserError for a TensorRT that this package was not written for: 10.x has another API."""
    if not SUPPORTED.contains(version, prereleases=True):
        raise UserError(
            f"TensorRT {version} is installed; supported versions: {SUPPORTED}",
            where="tensorrt",
            remedy=f"pip install 'tensorrt-cu13{SUPPORTED}': 10.x has another API",
        )


def require_tensorrt() -> str:
    """The version of a TensorRT that can be imported and is supported. Raises UserError otherwise."""
    try:
        import tensorrt
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "tensorrt"
        what = "TensorRT is not installed" if missing else f"TensorRT cannot be imported: {error}"
        raise UserError(what, where="tensorrt", remedy=INSTALL) from None
    except OSError as error:  # its libraries come in a package of their own
        raise UserError(f"TensorRT cannot be imported: {error}", where="tensorrt", remedy=INSTALL) from None
    check_version(tensorrt.__version__)
    return tensorrt.__version__


def why_not_here(*, packaged: bool = False) -> str | None:
    """One line that says why no engine can be built on this machine, None where one can, as far as a look tells.

    `packaged`: the job runs in an environment of its own, so that only the GPU counts.
    """
    if not packaged:
        version = installed_version()
        if version is None:
            return "TensorRT is not installed"
        try:
            check_version(version)
        except UserError as error:
            return error.what
    return None if _has_gpu() else "nvidia-smi finds no NVIDIA GPU"


def _has_gpu() -> bool:
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    try:
        completed = subprocess.run([program, "-L"], capture_output=True, encoding="utf-8", timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return completed.returncode == 0 and "GPU" in completed.stdout
