"""What a run makes, and what each rule waits for: the input functions of the rules."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from sdseg.backends.tensorrt_support import why_not_here
from sdseg.config.network import LatentNetwork
from sdseg.config.seeds_and_folds import cross_validated
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_file
from sdseg.core.gpu_choice import choose_gpu
from sdseg.datasets.check_configuration import check_machine, configure
from sdseg.datasets.source_lookup import makes_split

__all__ = ["EVALUATED", "EXPORTED", "PREPARED", "RAW", "TRAINED", "Plan", "plan_run"]

RAW = "<results>/{dataset}/raw.json"
PREPARED = "<results>/{dataset}/prepared/manifest.json"
TRAINED = "<results>/{dataset}/{recipe}/model/config.json"
EVALUATED = "<results>/{dataset}/{recipe}/evaluation/summary.json"
STUDIED = "<results>/{dataset}/{recipe}/evaluation/{study}.json"
EXPORTED = "<results>/{dataset}/{recipe}/export/parity.json"
WEB_PAGE = "<results>/{dataset}/{recipe}/export/segment.html"
ENGINE = "<results>/{dataset}/{recipe}/export/model.{precision}.engine"


def plan_run(config: Mapping[str, Any], files: list[Any], *, main_process: bool) -> Plan:
    """The plan of a run; a mistake in the configuration ends it with one message that names file, key and remedy."""
    try:
        where = " and ".join(map(str, files))
        plan = Plan(config, where=where)
        device = choose_gpu(plan.settings.device)  # jobs see that GPU alone
        if device != plan.settings.device:
            plan = Plan({**config, "device": device}, where=where)
        if main_process:  # jobs of a running workflow need not ask again
            check_machine(plan.run)
    except UserError as error:
        raise WorkflowError(str(error)) from None
    return plan


class Plan:
    """A validated configuration with every recipe resolved. Methods with `wildcards` are input functions of rules."""

    _said = False  # that engines are left out
    own_environments = False  # True: jobs run in conda environments, so that only their GPU can be looked at here

    def __init__(self, config: Mapping[str, Any], where: str) -> None:
        self.run = configure(config, where=where)
        self.settings, self.pairs, self.recipes = self.run.settings, self.run.pairs, self.run.recipes

    @property
    def values(self) -> dict[str, Any]:
        """The configuration as plain values, defaults filled in."""
        return self.settings.model_dump(mode="json")

    def is_phantom(self, dataset: str) -> bool:
        return self.settings.datasets[dataset].origin == "phantom"

    def every(self, pattern: str, only: str | None = None) -> list[str]:
        """`pattern` filled in for every dataset and recipe of the run, or for one dataset."""
        chosen = [each for each in self.settings.datasets if only in (None, each)]
        if "{recipe}" not in pattern:
            return [pattern.replace("{dataset}", dataset) for dataset in chosen]
        return [
            pattern.replace("{dataset}", dataset).replace("{recipe}", recipe)
            for dataset, recipe in self.pairs
            if dataset in chosen
        ]

    @property
    def recipe_names(self) -> list[str]:
        """Every training and ensemble, those of the ablation included, and every row of out-of-fold scores."""
        return [*self.settings.trainings, *self.cross_validated_names]

    @property
    def cross_validated_names(self) -> list[str]:
        """What the out-of-fold scores of recipes with folds are called."""
        return list(cross_validated(self.settings.recipes))

    def out_of_fold(self, only: str | None = None) -> list[str]:
        """Every summary of out-of-fold scores, or those of one dataset."""
        return [
            EVALUATED.replace("{dataset}", dataset).replace("{recipe}", name)
            for dataset in self.settings.datasets
            if only in (None, dataset)
            for name in self.settings.cross_validated(dataset)
        ]

    def fold_models(self, wildcards: Any) -> list[str]:
        """The models that out-of-fold scores are made with."""
        names = self.settings.cross_validated(wildcards.dataset)[wildcards.recipe]
        return [f"<results>/{wildcards.dataset}/{name}/model/config.json" for name in names]

    def folds_of(self, wildcards: Any) -> str:
        """The file of folds of a recipe's out-of-fold scores."""
        trainings = self.settings.cross_validated(wildcards.dataset)[wildcards.recipe]
        return f"<results>/{wildcards.dataset}/folds-{len(trainings)}.csv"

    def folds_needed(self, wildcards: Any) -> str | list[str]:
        """The file of folds a training holds one out of; none where it trains on the whole training split."""
        trained = self.settings.trainings[wildcards.recipe]
        return f"<results>/{wildcards.dataset}/folds-{trained.choice.folds}.csv" if trained.fold else []

    def fold_options(self, wildcards: Any, input: Any) -> list[str]:
        """The same as arguments of the verb."""
        fold = self.settings.trainings[wildcards.recipe].fold
        return ["--folds", str(input.folds), "--fold", str(fold)] if fold else []

    @property
    def ensembles(self) -> list[str]:
        """Those that are the mean of others: nothing is trained for them."""
        return [name for name, each in self.settings.trainings.items() if each.members]

    @property
    def trained(self) -> list[str]:
        """The others."""
        return [name for name, each in self.settings.trainings.items() if not each.members]

    def members(self, wildcards: Any) -> list[str]:
        """The models that an ensemble is the mean of."""
        names = self.settings.trainings[wildcards.recipe].members
        return [f"<results>/{wildcards.dataset}/{name}/model/config.json" for name in names]

    def ablation(self, wildcards: Any = None) -> list[str]:
        """The scores of the ablation. Raises WorkflowError where the configuration has none."""
        if self.settings.ablation is None:
            raise WorkflowError(
                "the configuration has no section 'ablation'\n"
                "  remedy: add one, as in config/config.yaml, with the recipes and the datasets"
            )
        return [
            EVALUATED.replace("{dataset}", dataset).replace("{recipe}", recipe)
            for dataset, recipe in self.settings.ablation_pairs()
        ]

    @property
    def study_files(self) -> list[str]:
        """What the studies of one model leave, by the configuration."""
        return [STUDIED.replace("{study}", name) for name in self.settings.studies.names]

    def studies(self, wildcards: Any = None) -> list[str]:
        """Every study of every model."""
        return [path for pattern in self.study_files for path in self.every(pattern)]

    def studies_of_all(self, wildcards: Any = None) -> list[str]:
        """Those that `all` makes."""
        return self.studies() if self.settings.studies.in_all else []

    @property
    def environment(self) -> str:
        """Conda environment of every job, relative to the folder of the rules."""
        return "../envs/gpu.yaml" if self.settings.device == "cuda" else "../envs/cpu.yaml"

    @property
    def engine_environment(self) -> str:
        """Of the jobs that build engines: TensorRT comes from an index of its own, and no other job depends on it."""
        return "../envs/tensorrt.yaml"

    @property
    def gpus(self) -> int:
        """GPUs one job takes."""
        return 1 if self.settings.device == "cuda" else 0

    def raw_needed(self, wildcards: Any) -> str | list[str]:
        """What must be made before the raw files are looked for: phantoms, or what says how own files lie."""
        if self.settings.datasets[wildcards.dataset].own is not None:
            return "<results>/{dataset}/dataset.yaml"
        return "<results>/{dataset}/phantoms.json" if self.is_phantom(wildcards.dataset) else []

    def split_file(self, wildcards: Any) -> str:
        """The split file of a dataset: committed, the user's own, the phantoms', or made from the raw files."""
        dataset = wildcards.dataset
        if makes_split(self.settings.datasets[dataset]):
            return "<results>/{dataset}/split.csv"
        if self.is_phantom(dataset) and self.settings.datasets[dataset].split_file is None:
            return "<results>/{dataset}/phantoms.csv"
        return str(self.settings.split_path(dataset))

    def codec_needed(self, wildcards: Any) -> str | list[str]:
        """The codec a recipe is built on, the dataset's own or one for all; direct recipes have none."""
        network = self.recipes[wildcards.dataset, wildcards.recipe].network
        return self._codec(wildcards.dataset, network.codec) if isinstance(network, LatentNetwork) else []

    def image_codec_needed(self, wildcards: Any) -> str | list[str]:
        """The codec of images that a recipe takes its condition encoder from, if any."""
        network = self.recipes[wildcards.dataset, wildcards.recipe].network
        name = network.image_codec if isinstance(network, LatentNetwork) else None
        return [] if name is None else self._codec(wildcards.dataset, name)

    def _codec(self, dataset: str, name: str) -> str:
        whose = f"{dataset}/" if self.settings.codecs[name].of_dataset else ""
        return f"<results>/{whose}codecs/{name}/codec/config.json"

    def start_needed(self, wildcards: Any) -> str | list[str]:
        """The model that training starts from: another recipe's of this dataset, or a folder from elsewhere."""
        return self._model(wildcards, "start_from")

    def teacher_needed(self, wildcards: Any) -> str | list[str]:
        """The model that a training learns from, likewise."""
        return self._model(wildcards, "distillation.teacher")

    def _model(self, wildcards: Any, key: str) -> str | list[str]:
        named = self.recipes[wildcards.dataset, wildcards.recipe].builds_on.get(key)
        if named is None:
            return []
        if named.model is not None:
            return os.path.join(named.model, "config.json")
        return f"<results>/{wildcards.dataset}/{named.recipe}/model/config.json"

    def web_pages(self, wildcards: Any = None) -> list[str]:
        """A page of every model that a browser can run: not of those of patches."""
        return [
            WEB_PAGE.replace("{dataset}", dataset).replace("{recipe}", recipe)
            for dataset, recipe in self.pairs
            if self.recipes[dataset, recipe].patches is None
        ]

    def web_pages_of_all(self, wildcards: Any = None) -> list[str]:
        """What `all` makes of them: every one where `web.pages` is set."""
        return self.web_pages() if self.settings.web.pages else []

    def no_engines(self) -> str | None:
        """Why this machine builds no engines, None where it does or where others do: what `missing` decides on."""
        if self.settings.engines.missing == "elsewhere":
            return None
        return why_not_here(packaged=self.own_environments)

    def engines(self, wildcards: Any = None) -> list[str]:
        """Every engine of the run; none where the configuration leaves them out, or an error if none can be built."""
        reason = self.no_engines()
        if reason is None:
            return [
                name.replace("{precision}", precision)
                for name in self.every(ENGINE)
                for precision in self.settings.engines.precisions
            ]
        if self.settings.engines.missing == "error":
            raise WorkflowError(
                f"engines cannot be built on this machine: {reason}\n"
                "  where:  engines.missing: error\n"
                "  remedy: install what is missing (docs/tensorrt.md); or set 'missing: leave-out' to run without "
                "engines, or 'missing: elsewhere' if the jobs run on another machine"
            )
        if not self._said:  # once, whoever asks
            logger.warning(f"TensorRT engines are left out: {reason} (engines.missing: leave-out)")
            self._said = True
        return []

    def engines_of_all(self, wildcards: Any = None) -> list[str]:
        """What `all` makes of them: every engine on a GPU, none otherwise."""
        return self.engines() if self.settings.device == "cuda" else []

    def engines_there(self, wildcards: Any = None) -> list[str]:
        """Engines that the page shows and `all` does not make, each with a checksum of what it says about itself.

        They were made by the target `engines`, or on another machine: a new one makes the page anew, and the page makes
        none of them.
        """
        of_all, others = set(self.engines_of_all()), []
        for dataset, recipe in self.pairs:
            for path in sorted((Path(self.settings.results) / dataset / recipe / "export").glob("model.*.engine.json")):
                engine = f"<results>/{dataset}/{recipe}/export/{path.stem}"
                if engine not in of_all:
                    others.append(f"{engine} {sha256_file(path)}")
        return others
