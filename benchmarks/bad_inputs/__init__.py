"""Bad inputs by family, each as the words of a command line and what the answer must name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.bad_inputs.case import Bad, Ready, make_ready
from benchmarks.bad_inputs.data import masks, predictions, raw_files, splits
from benchmarks.bad_inputs.models import graphs, models, stores
from benchmarks.bad_inputs.settings import codecs, configurations, datasets, recipes, yaml_files
from benchmarks.bad_inputs.words import archives, checkpoints, words

__all__ = ["FAMILIES", "Bad", "Ready", "make_ready"]

FAMILIES: dict[str, Callable[[Ready], Iterator[Bad]]] = {
    "configuration": configurations,
    "yaml": yaml_files,
    "recipe": recipes,
    "dataset": datasets,
    "codec": codecs,
    "words": words,
    "splits": splits,
    "raw files": raw_files,
    "predict": predictions,
    "masks": masks,
    "store": stores,
    "model": models,
    "graph": graphs,
    "archive": archives,
    "checkpoint": checkpoints,
}
