"""Composing the page: what was gathered and drawn, set into the templates, all text escaped, linked to files alone."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sdseg.core.bounded_types import in_pixels
from sdseg.core.files import sha256_text
from sdseg.core.provenance import provenance
from sdseg.metrics import overlap
from sdseg.report import annotator_agreement, charts, figures, formats, model_card, paper, recipe_comparison
from sdseg.report.collect import CollectedResults, DatasetResults, ScoredRun
from sdseg.report.folder_comparison import FolderComparison
from sdseg.report.latency_comparison import runtimes_of
from sdseg.report.published import Published
from sdseg.report.single_changes import changes_by_start
from sdseg.report.structure_comparison import structure_comparison

__all__ = ["ORIGINS", "compose", "render", "render_comparison", "scoring_rules"]

TEMPLATES = Path(__file__).resolve().parent / "templates"
ORIGINS = {  # heading, and what follows "measured on"
    "phantom": (
        "Phantoms",
        "synthetic images drawn by a program. They show that the pipeline works and say nothing about the real dataset",
    ),
    "sample": (
        "Samples",
        "a few real images in a dataset's layout. They are not that dataset, and its published figures do not compare",
    ),
    "real": ("Real data", "the dataset as its owner ships it"),
}


Section = tuple[str, list[tuple[str, str]]]


def render(
    results: CollectedResults, titles: Mapping[str, str], published: Published | None = None, file: Path | None = None
) -> str:
    """The whole page as HTML. `titles` gives the full name of each dataset source, `file` is where it will lie."""
    file = file or results.folder / "report.html"
    sources = {dataset.name: dataset.prepared.source for dataset in results.datasets if dataset.prepared}
    only_own = bool(sources) and {*sources.values()} == {"own"}  # nobody has published figures of these
    published_tables = paper.tables(results, published) if published and not only_own else ()
    source_names = paper.sources_of(published_tables)
    return compose(
        "page.html",
        results=results,
        anchors=_anchors(results),
        titles=titles,
        rules=scoring_rules(),
        spread=lambda spread: formats.spread(spread.mean, spread.sd),
        whisker=charts.whisker,
        low=charts.lower_end([run.summary.dice.minimum for run in results.runs]),
        drawings=_drawings,
        pictures=figures.overlay_pictures,
        latents=figures.latent_pictures,
        titled_charts=figures.titled_charts,
        training_cost=figures.training_cost,
        latency_charts=figures.latency_charts,
        runtimes_of=runtimes_of,
        changes_by_start=changes_by_start,
        robustness=figures.robustness,
        agreement=figures.agreement,
        volumes=figures.volume_data,
        metric_rows=model_card.metric_rows,
        structure_columns=model_card.structure_columns,
        failures=model_card.failures,
        checks=model_card.checks,
        web_link=lambda run: model_card.web_link(run, file),
        missing_studies=model_card.missing_studies,
        annotator_rows=annotator_agreement.annotator_rows,
        annotator_columns=annotator_agreement.annotator_columns,
        recipe_comparisons=recipe_comparison.recipe_comparisons,
        recipes_with_seeds=recipe_comparison.recipes_with_seeds,
        structure_comparison=structure_comparison,
        paper_dice=lambda run: paper.paper_dice(run, sources.get(run.dataset), published),
        published_tables=published_tables,
        published_sources={name: published.sources[name] for name in source_names} if published else {},
        recipe_hash=_recipe_hash,
    )


def render_comparison(comparison: FolderComparison) -> str:
    """The page of two folders side by side."""
    return compose("compare.html", comparison=comparison, spread=lambda spread: formats.spread(spread.mean, spread.sd))


def compose(template: str, **values: Any) -> str:
    """A page from one of the templates: style and script within it, and nothing else let in by its policy."""
    page = _environment().get_template(template)
    style, script = (Markup((TEMPLATES / name).read_text(encoding="utf-8")) for name in ("page.css", "page.js"))  # ours
    html = page.render(
        **values,
        origins=ORIGINS,
        made=provenance(),
        style=style,
        script=script,
        policy=f"default-src 'none'; img-src data:; style-src {_digest(style)}; script-src {_digest(script)}",
    )
    return html.encode("utf-8", "replace").decode()  # a file name that is not UTF-8 must not stop the page


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_defined,
    )
    environment.filters |= {
        "count": formats.count,
        "difference": formats.difference,
        "duration": formats.duration,
        "flatten": formats.flatten,
        "p_value": formats.p_value,
        "pixels": in_pixels,
        "score": formats.score,
        "seconds": formats.seconds,
        "signed": formats.signed,
        "grouped": _grouped,
    }
    return environment


def scoring_rules() -> list[str]:
    """The rules for averaging and for empty masks, as `sdseg.metrics.overlap` states them."""
    return [rule.replace("`", "") for rule in overlap.RULES]


def _drawings(dataset: DatasetResults, run: ScoredRun) -> dict[str, Markup | None]:
    """The charts of a run; the axis of Dice is shared by the dataset's runs so that they compare by eye."""
    low = charts.lower_end([case.dice for other in dataset.runs for case in other.cases or ()])
    best = run.training.best_step if run.training else None
    return {
        "distribution": charts.distribution(run.cases, low) if run.cases else None,
        "loss": charts.loss_curve(run.curves.loss) if run.curves else None,
        "validation": charts.score_curve(run.curves.dice, best) if run.curves else None,
    }


def _anchors(results: CollectedResults) -> dict[tuple[str, str], str]:
    """A distinct id for every dataset (with an empty recipe) and run."""
    anchors: dict[tuple[str, str], str] = {}
    for dataset in results.datasets:
        for recipe in ("", *(run.recipe for run in dataset.runs)):
            anchor = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{dataset.name}--{recipe}" if recipe else dataset.name)
            used = set(anchors.values())
            anchors[dataset.name, recipe] = anchor if anchor not in used else f"{anchor}-{len(used)}"
    return anchors


def _grouped(values: Mapping[str, Any], leave_out: str = "", heading: str = "") -> list[Section]:
    """Nested settings as sections of (key, text), each under its dotted name; plain values before nested ones."""
    plain = {key: value for key, value in values.items() if not isinstance(value, Mapping) and key != leave_out}
    sections = [(heading, list(formats.flatten(plain)))] if plain else []
    for key, value in values.items():
        if isinstance(value, Mapping):
            sections += _grouped(value, heading=f"{heading} › {key}" if heading else key)
    return sections


def _recipe_hash(recipe: Mapping[str, Any]) -> str:
    """SHA-256 of the resolved recipe: equal for equal values, whatever their order."""
    return sha256_text(json.dumps(recipe, sort_keys=True))


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _defined(value: Any) -> Any:
    """None in a template is a mistake of ours, never the word 'None' on the page."""
    if value is None:
        raise ValueError("a template printed None")
    return value
