"""Finding the parts of every run in a results folder, and the command that makes each part that is missing."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from sdseg.artifacts.manifests import GraphManifest, ModelManifest, PreparedManifest, model_checksum
from sdseg.artifacts.results.changes import ChangeRow, Changes
from sdseg.artifacts.results.evaluation import CaseRow, EvaluationSummary, Overlay
from sdseg.artifacts.results.hard_cases import HardCases
from sdseg.artifacts.results.pareto import Pareto, ParetoRow
from sdseg.artifacts.results.parity import Engine, Parity
from sdseg.artifacts.results.studies import STUDIES, StudyRecords, Volume
from sdseg.artifacts.results.training import Curves, TrainingRecord
from sdseg.artifacts.results.web_page import WebPage
from sdseg.core.errors import UserError
from sdseg.core.files import read_json
from sdseg.report.read_results import (
    read_cases,
    read_curves,
    read_engines,
    read_if_there,
    read_overlays,
    read_studies,
    read_training,
    read_volumes,
)

__all__ = ["CollectedResults", "DatasetResults", "ScoredRun", "UnscoredModel", "collect_results"]

OWN = "own"  # the source of a dataset of the user's own: only its settings say what the values of a mask mean
SAME = ("protocol", "split", "target", "size", "scored_at", "data_checksum")  # or two runs are not compared
_WORKFLOW = "snakemake --cores all {target}    # with the configuration of this run"


@dataclass(frozen=True)
class ScoredRun:
    """One recipe on one dataset. A part is None where it was not made."""

    dataset: str
    recipe: str
    folder: Path
    summary: EvaluationSummary
    cases: tuple[CaseRow, ...] | None
    overlays: tuple[Overlay, ...]
    model: ModelManifest | None
    training: TrainingRecord | None
    curves: Curves | None
    parity: Parity | None
    engines: tuple[Engine, ...]
    graph: GraphManifest | None
    studies: StudyRecords
    volumes: tuple[Volume, ...]
    hard_cases: HardCases | None = None
    web_page: WebPage | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether there is no model of this name, and nothing is missing: masks made elsewhere, or by several folds."""
        return self.summary.predictions is not None or self.summary.cross_validation is not None

    @property
    def other_weights(self) -> dict[str, str]:
        """What was made of other weights than those of the model beside it, in words, and what renews each."""
        if self.model is None or self.elsewhere:
            return {}
        own, renewed_by = model_checksum(self.model), dict[str, str]()
        if self.summary.backend.startswith("torch") and self.summary.model_checksum != own:  # else a graph's checksum
            renewed_by["scored with other weights"] = self.commands["evaluate"]
        exported = self.graph.provenance.get("model_checksum") if self.graph else None
        if exported not in (None, own):
            renewed_by["exported from other weights"] = self.commands["export"]
        return renewed_by

    @property
    def ceiling(self) -> float | None:
        """Dice of decode(encode(mask)); None where there is no codec or nobody measured it."""
        measured = self.summary.codec_ceiling or (self.training.codec_ceiling if self.training else None)
        return measured.dice if measured else None

    @property
    def commands(self) -> dict[str, str]:
        """What makes each part."""
        model, prepared = self.folder / "model", self.folder.parent / "prepared"
        export = _command("export", model=model, prepared=prepared, output=self.folder / "export")
        return {
            "train": _WORKFLOW.format(target="train"),
            "evaluate": self._evaluate,
            "export": export,
            **{
                name: f"{_model_command(self.folder, split=self.summary.split)} {kind.options}"
                for name, kind in STUDIES.items()
            },
        }

    @property
    def _evaluate(self) -> str:
        """As this evaluation was made; where the raw files lie nothing tells."""
        if self.summary.cross_validation is not None:
            return _WORKFLOW.format(target="evaluate")
        again: dict[str, Path | str] = {"split": self.summary.split}
        if self.summary.native is not None:
            again["raw"] = "RAW"
            if self.summary.source == OWN:
                again["settings"] = self.folder.parent / "dataset.yaml"
        if not self.elsewhere:
            return _model_command(self.folder, **again)
        masks = {"predictions": self.summary.predictions or "", "name": self.summary.recipe}
        prepared, output = self.folder.parent / "prepared", self.folder / "evaluation"
        return _command("evaluate", **masks, prepared=prepared, output=output, **again)


@dataclass(frozen=True)
class DatasetResults:
    """Every scored run of one dataset."""

    name: str
    prepared: PreparedManifest | None
    runs: tuple[ScoredRun, ...]
    latency: tuple[ParetoRow, ...] = ()  # of its recipes; none where nobody measured them side by side
    changes: tuple[ChangeRow, ...] = ()  # of recipes, one at a time; none where nobody counted them

    @property
    def commands(self) -> dict[str, str]:
        return {"prepare": _WORKFLOW.format(target="prepare")}

    @property
    def differing(self) -> tuple[str, ...]:
        """What keeps the runs of this dataset from being compared: the names of keys they differ in."""
        runs = [run for run in self.runs if run.summary.cross_validation is None]  # of other cases, and marked so
        return tuple(key for key in SAME if len({getattr(run.summary, key) for run in runs}) > 1)

    @staticmethod
    def differences(a: ScoredRun, b: ScoredRun) -> tuple[str, ...]:
        """What keeps two runs from being compared."""
        return tuple(key for key in SAME if getattr(a.summary, key) != getattr(b.summary, key))


@dataclass(frozen=True)
class UnscoredModel:
    """A trained model that nobody has scored yet."""

    dataset: str
    recipe: str
    command: str


@dataclass(frozen=True)
class CollectedResults:
    """All that the page shows."""

    folder: Path
    datasets: tuple[DatasetResults, ...]
    unscored: tuple[UnscoredModel, ...]

    @property
    def runs(self) -> tuple[ScoredRun, ...]:
        return tuple(run for dataset in self.datasets for run in dataset.runs)

    @property
    def origins(self) -> dict[str, int]:
        """How many runs there are of each origin, in the order phantom, sample, real."""
        counts = Counter(run.summary.origin for run in self.runs)
        return {origin: counts[origin] for origin in ("phantom", "sample", "real") if origin in counts}


def collect_results(results: Path) -> CollectedResults:
    """Read `results/<dataset>/<recipe>/…`. Raises UserError where nothing was scored or a file is not as expected."""
    if not results.is_dir():
        raise UserError("no such folder of results", where=results, remedy="name the folder that the workflow wrote")
    datasets, unscored = [], []
    pareto = read_if_there(results / "pareto.json", Pareto)
    changes = read_if_there(results / "changes.json", Changes)
    for folder in _folders(results):
        runs = []
        for place in _folders(folder):
            if (place / "evaluation").is_dir():
                runs.append(_run(place))
            elif (place / "model" / "config.json").is_file():
                unscored.append(UnscoredModel(folder.name, place.name, _model_command(place, raw="RAW")))
        if runs:
            manifest = folder / "prepared" / "manifest.json"
            prepared = read_if_there(manifest, PreparedManifest)
            latency = tuple(row for row in pareto.rows if row.dataset == folder.name) if pareto else ()
            changed = tuple(row for row in changes.rows if row.dataset == folder.name) if changes else ()
            datasets.append(DatasetResults(folder.name, prepared, tuple(runs), latency, changed))
    if not datasets:
        raise UserError(
            "nothing was scored here: there is no <dataset>/<recipe>/evaluation/summary.json",
            where=results,
            remedy=unscored[0].command if unscored else "run the workflow first, or name another folder",
        )
    return CollectedResults(results, tuple(datasets), tuple(unscored))


def _run(folder: Path) -> ScoredRun:
    evaluation, manifest = folder / "evaluation", folder / "model" / "config.json"
    path = evaluation / "summary.json"
    if not path.is_file():
        raise UserError("the summary of the scores is missing", where=path, remedy=_model_command(folder, raw="RAW"))
    summary = read_json(path, EvaluationSummary)
    model = read_if_there(manifest, ModelManifest)
    cases, log = evaluation / "cases.csv", folder / "model" / "training.jsonl"
    parity, ports = folder / "export" / "parity.json", folder / "export" / "io.json"
    return ScoredRun(
        dataset=folder.parent.name,
        recipe=folder.name,
        folder=folder,
        summary=summary,
        cases=read_cases(cases, expected=summary.n_cases) if cases.is_file() else None,
        overlays=read_overlays(evaluation / "overlays"),
        model=model,
        training=read_training(model.training, path=manifest) if model else None,
        curves=read_curves(log) if log.is_file() else None,
        parity=read_if_there(parity, Parity),
        engines=read_engines(folder / "export"),
        graph=read_if_there(ports, GraphManifest),
        studies=read_studies(evaluation),
        volumes=read_volumes(evaluation / "volumes"),
        hard_cases=read_if_there(evaluation / "hard_cases.json", HardCases),
        web_page=read_if_there(folder / "export" / "segment.json", WebPage),
    )


def _folders(parent: Path) -> list[Path]:
    """Folders in alphabetical order, without hidden ones (a stage that is writing keeps its parts there)."""
    return sorted(child for child in parent.iterdir() if child.is_dir() and not child.name.startswith("."))


def _model_command(run: Path, **more: Path | str) -> str:
    places = {"prepared": run.parent / "prepared", "model": run / "model", "output": run / "evaluation"}
    return _command("evaluate", **places, **more)


def _command(verb: str, **options: Path | str) -> str:
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return shlex.join(["python", "-m", "sdseg", verb, *words])
