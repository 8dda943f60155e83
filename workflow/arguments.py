"""What the rules' commands are given besides inputs and outputs: plain values, or functions of the wildcards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdseg.core.shipped_files import shipped
from sdseg.datasets.check_configuration import CheckedConfig

__all__ = ["Arguments", "no_reason"]


def no_reason(value: Any) -> Callable[..., Any]:
    """A parameter of a rule that changes no result; `value` may be a function of the wildcards.

    What depends on the output, Snakemake counts for no reason to run a job again.
    """
    return lambda wildcards, output: value(wildcards) if callable(value) else value


class Arguments:
    """The arguments of the verbs, by the configuration."""

    def __init__(self, run: CheckedConfig) -> None:
        self.settings, self.recipes = run.settings, run.recipes

    def source(self, wildcards: Any) -> str:
        return self.settings.datasets[wildcards.dataset].source

    def raw_folder(self, wildcards: Any) -> str:
        return str(self.settings.raw_folder(wildcards.dataset))

    def download_options(self, wildcards: Any) -> list[str]:
        """Where archives of a real dataset are looked for, and what is allowed to get them."""
        settings, dataset = self.settings, self.settings.datasets[wildcards.dataset]
        if dataset.own is not None:
            return ["--settings", str(Path(settings.results) / wildcards.dataset / "dataset.yaml")]
        if dataset.origin != "real":
            return []
        words = [
            "--registry",
            str(shipped(settings.registry)),
            "--manual",
            settings.manual,
            "--downloads",
            settings.downloads,
        ]
        return words + ["--fetch"] * settings.fetch + ["--accept-terms"] * dataset.accept_terms

    def batch(self, wildcards: Any) -> int:
        return self.recipes[wildcards.dataset, wildcards.recipe].inference.batch

    @property
    def trainer(self) -> str:
        """What runs the verb `train`: one process, or several that share every batch (gloo where there is no GPU)."""
        if self.settings.processes == 1:
            return "python -m sdseg"
        options = "--multi_gpu --num_machines 1 --main_process_port 0 --dynamo_backend no --mixed_precision no"
        # The precision is the recipe's: the verb itself asks for it.
        return f"python -m accelerate.commands.launch {options} --num_processes {self.settings.processes} -m sdseg"

    def origins_of_latents(self, codec: str, start: str) -> list[str]:
        """What the study of latents compares with, as arguments of the verb; each by its config.json, or empty."""
        chosen = {"--codec": codec, "--start-from": start} if self.settings.studies.latents else {}
        return [word for flag, path in chosen.items() if path for word in (flag, os.path.dirname(path))]

    def graph_of_engine(self, wildcards: Any) -> str:
        """The graph an engine is built from: engines compute in the types their graph is written in."""
        name = "model.onnx" if wildcards.precision == "fp32" else f"model.{wildcards.precision}.onnx"
        return str(Path(self.settings.results) / wildcards.dataset / wildcards.recipe / "export" / name)

    @property
    def timing_cache(self) -> list[str]:
        """The file that makes building faster, as an argument of the verb."""
        cache = self.settings.engines.timing_cache
        return [] if cache is None else ["--timing-cache", cache]
