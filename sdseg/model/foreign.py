"""Checkpoint files that others wrote, read without running anything from them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sdseg.errors import UserError

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
        with torch.serialization.safe_globals([(_Ignored, name) for name in _LEFT_BY_TRAINERS]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"refused: the file asks for code to be run, or is no checkpoint ({str(error).splitlines()[0]})",
            where=path,
            remedy="get the file from its authors; only tensors and plain values are read",
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"not a whole checkpoint: {reason}", where=path, remedy="get the file again") from None
    weights = stored.get("state_dict", stored) if isinstance(stored, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(
            f"not {kind}: it holds no 'state_dict' of tensors", where=path, remedy="name the file the authors publish"
        )
    step = stored.get("global_step", 0)
    return weights, step if isinstance(step, int) else 0
