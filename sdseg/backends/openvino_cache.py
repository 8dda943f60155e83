"""What OpenVINO has compiled of a graph for this machine, kept so that the next start need not do it again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from sdseg.backends.cache import cache_entry, private_folder, prune, used_now, worth_keeping
from sdseg.backends.cache_checksums import RECORD, damage_of, seal
from sdseg.backends.openvino_support import load_openvino
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder

__all__ = ["cached_model"]

log = logging.getLogger(__name__)

FOLDER, NAME = "openvino", "model.blob"


def cached_model(
    path: Path, settings: tuple[str, ...], compile_: Callable[[], Any], import_: Callable[[Any], Any]
) -> Any:
    """The compiled model of a graph, from an earlier start if there is one, else leaving one.

    Parameters
    ----------
    path: the graph.
    settings: what it is compiled for and by; the processor is added.
    compile_: compiles the graph; raises UserError for one that cannot be used.
    import_: opens what `export_model` gave of an earlier one, a tensor of its bytes; raises RuntimeError where OpenVINO
        does not take it.

    An entry is used while its checksums hold. A cache that cannot be written or read, or that others can write to, is a
    warning and costs the compilation, nothing else.
    """
    if not worth_keeping(path):
        return compile_()
    if reason := private_folder(FOLDER):
        log.warning("what OpenVINO compiles is neither kept nor used again: %s", reason)
        return compile_()
    entry = cache_entry(FOLDER, path, *settings)
    if entry.is_dir():
        model = _kept(entry, import_)
        if model is not None:
            return model
    model = compile_()
    try:
        with atomic_folder(entry, (NAME, RECORD)) as folder:
            (folder / NAME).write_bytes(model.export_model().getbuffer())
            seal(folder)
    except (UserError, OSError, RuntimeError) as error:
        log.warning("what OpenVINO compiled is not kept: %s", error.what if isinstance(error, UserError) else error)
        return model
    prune(entry.parent)
    return model


def _kept(entry: Path, import_: Callable[[Any], Any]) -> Any:
    """What was compiled earlier; None, with a warning, where it cannot be used."""
    reason = damage_of(entry)
    if reason is None:
        try:
            status = (entry / NAME).stat()
            model = import_(_mapped(entry / NAME, status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError as error:
            reason = f"it cannot be read: {error}"
        except RuntimeError:
            reason = "OpenVINO does not take it"
        else:
            used_now(entry)
            return model
    log.warning("what OpenVINO compiled earlier cannot be used: it is made again (%s)", reason)
    return None


@cache
def _mapped(path: Path, *stamp: int) -> Any:
    """A file's bytes as a tensor, mapped into memory until the process ends.

    A compiled model has its weights there and does not keep the tensor: were it let go, the next call would crash.
    """
    return load_openvino().Tensor(np.memmap(path, np.uint8, "c"), shared_memory=True)
