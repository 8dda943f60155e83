"""Checkpoint files that others wrote, read without running anything from them."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdseg.core.errors import UserError

__all__ = ["Weights", "read_checkpoint_file"]

Weights = dict[str, Tensor]


class _Ignored:
    """Stands in for what trainers leave in a checkpoint beside its tensors; takes anything and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Ignored:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Forget it."""


# Checkpoints of Lightning 1.x (LDM's, Stable Diffusion's) name these classes. None of them is imported or called.
_LEFT_BY_TRAINERS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
    "_codecs.encode",
)


def read_checkpoint_file(path: Path, kind: str) -> tuple[Weights, int]:
    """The tensors of a PyTorch checkpoint by name, and the step it was saved at (0 where it does not say).

    `kind` says in words what is expected. Raises UserError for a missing, damaged, foreign or unsafe file: only tensors
    and plain values are read, and a pickle that asks for anything else is refused before it is run.
    """
    if not path.is_file():
        raise UserError("the checkpoint is missing", where=path, remedy="check the path")
    try:
        with (
            torch.serialization.safe_globals([(_Ignored, name) for name in _LEFT_BY_TRAINERS]),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore", UserWarning)  # of pickles of another protocol, to PyTorch's authors
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(str(error), path) from None
    except Exception as error:  # whatever PyTorch stumbles over in a damaged file, by no common class
        reason = error.strerror if isinstance(error, OSError) else None  # PyTorch's own reasons are of its archives
        what = f"not a whole checkpoint: {reason or 'it is cut off or damaged'}"
        raise UserError(what, where=path, remedy="get the file again") from None
    weights = stored.get("state_dict", stored) if isinstance(stored, dict) else None
    if not isinstance(weights, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise UserError(
            f"not {kind}: it holds no 'state_dict' of tensors", where=path, remedy="name the file the authors publish"
        )
    step = stored.get("global_step", 0)
    return weights, step if isinstance(step, int) else 0


def _refused(reason: str, path: Path) -> UserError:
    """In our own words: PyTorch's advise to read the file without restraint, which would run what is in it."""
    match = re.search(r"GLOBAL ([\w.]+)", reason)
    if match is not None:
        return UserError(
            f"refused: the file asks for code to be run, '{match[1]}'; only tensors and plain values are read",
            where=path,
            remedy="do not open it by other means either, unless you trust its authors; ask them for the tensors alone",
        )
    return UserError(
        "refused: the file is no checkpoint of tensors and plain values, or is damaged",
        where=path,
        remedy="get the file again from its authors",
    )
