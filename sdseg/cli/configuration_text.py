"""A configuration as text, with the reason beside each value: what `sdseg configure` writes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from sdseg.cli.fit_preset import Plan, codec_values, recipe_values
from sdseg.cli.fit_shape import Reasoned
from sdseg.cli.own_data import OwnData
from sdseg.sizing.presets import PRESETS
from sdseg.sizing.run_needs import millions

__all__ = ["configuration_text", "run_command", "seen_in_words"]

WIDTH = 118
UNET = {"cpu-10min": [16, 32, 64, 128], "cpu-1h": [24, 48, 96, 192], "gpu": [32, 64, 128, 256, 512, 512]}


def configuration_text(data: OwnData, plan: Plan, name: str, output: Path, device: str, why_preset: str) -> str:
    """The whole file. `name`: of the dataset; `output`: as the user typed it, for the commands at the top."""
    return "\n".join(
        [
            *_head(data, plan, output, why_preset),
            "",
            *_run(data, plan, name, device),
            "",
            *_codec(plan),
            "",
            *_recipes(plan),
            "",
            *_dataset(data, plan, name),
            "",
            *_export(plan),
            "",
        ]
    )


def seen_in_words(data: OwnData) -> list[str]:
    """What the data are, a line each."""
    survey = data.survey
    low, _, high = survey.span("height"), None, survey.span("width")
    kind = "volumes" if data.volumes else "images"
    size = f"{low[0]:g}×{high[0]:g}" + (
        "" if low[0] == low[2] and high[0] == high[2] else f" to {low[2]:g}×{high[2]:g}"
    )
    looked = "" if len(survey.views) == survey.cases else f" ({len(survey.views)} of them looked at)"
    groups = "" if survey.groups == survey.cases else f" of {survey.groups} patients or sequences"
    layout = data.layout.layout if data.layout is not None else data.source.title
    lines = [f"{survey.cases} {kind}{groups}{looked}, {size} rows × columns; layout: {layout}"]
    if data.volumes:
        spacing = [view.spacing for view in survey.views if view.spacing]
        middle = " × ".join(f"{sorted(axis)[len(axis) // 2]:.3g}" for axis in zip(*spacing, strict=True))
        depth = survey.span("depth")
        slices = f"{depth[0]:g}" if depth[0] == depth[2] else f"{depth[0]:g} to {depth[2]:g}"
        lines.append(
            f"{data.survey.plane} slices: {slices} per volume, about {survey.slices} in all; "
            f"spacing: {middle} mm (left-right, back-front, foot-head)"
        )
        for number, name in enumerate(data.source.channels or ("",)):
            spreads = [view.channels[number].spread for view in survey.views]
            lines.append(
                f"values{name and f' of {name}'}: {min(each.low for each in spreads):.4g} to "
                f"{max(each.high for each in spreads):.4g}, most of a case within "
                f"{min(each.width for each in spreads):.4g} to {max(each.width for each in spreads):.4g}"
            )
    if data.source.channels:
        lines.append(f"channels: {', '.join(data.source.channels)}; the model sees all of them")
    if data.annotators:
        lines.append(f"annotators: {', '.join(data.annotators)}; training draws a mask of one of them at every step")
    lines.append(f"modality: {data.modality} ({data.modality_reason})")
    if data.meaning is not None:
        lines.append(data.meaning.reason)
    areas = data.areas()
    lines.append(
        "to find: "
        + ", ".join(
            f"{one} ({100 * areas[one]:.2g} %)" if one in areas else f"{one} (not seen)" for one in data.structures
        )
    )
    return lines


def run_command(plan: Plan, output: Path) -> str:
    """What trains and scores by the configuration, as it is typed; the target stands before `--configfile`, which
    takes all that follows it for files.
    """
    return f"snakemake all --cores {plan.threads} --configfile {quote(str(output))}"


def _head(data: OwnData, plan: Plan, output: Path, why_preset: str) -> Iterator[str]:
    yield from _comment(f"Written by `sdseg configure {data.folder}`, preset {plan.name}: {plan.preset.about}.")
    yield from _comment(
        f"Chosen since {why_preset}. Others: {', '.join(f'--preset {each}' for each in PRESETS if each != plan.name)}."
    )
    yield from _comment("Change what you like: config/config.yaml and docs/your-own-data.md explain every key. Then")
    yield "#"
    yield f"#   sdseg estimate {quote(str(output))}"
    yield f"#   {run_command(plan, output)}"
    yield "#"
    yield "# What was seen (share of a slice that a structure takes where it is, the median):"
    for line in seen_in_words(data):
        yield from _comment(line, "# - ", "#   ")


def _run(data: OwnData, plan: Plan, name: str, device: str) -> Iterator[str]:
    yield f"results: {_flow(f'results-{name}')} # all that is made, the report page among it; data are only read"
    yield f"device: {device} # cpu, cuda, or cuda:1 for the second GPU"
    yield f"threads: {plan.threads} # of one job; this machine has so many cores" + (
        " or more" if plan.threads == 16 else ""
    )


def _codec(plan: Plan) -> Iterator[str]:
    yield "codecs:"
    yield "  masks: # turns masks into latents and back; trained here once, on random shapes"
    values = codec_values(plan.preset)
    factor = 1 << (len(values["block_out_channels"]) - 1)
    reasons = {
        "block_out_channels": f"a latent is {factor}× smaller than the image; KL-f8 of the paper: 128, 256, 512, 512"
    }
    yield from _entries(values, reasons, 4)


def _recipes(plan: Plan) -> Iterator[str]:
    values = recipe_values(plan)
    training = plan.accumulate
    reasons = {
        "condition": "the network that sees the image; the recipe's own values, for 256×256: 48, 96, 192, 384",
        "denoiser": "and the one that finds the latent (384, 512, 512, 512); "
        f"{millions(plan.parameters)} parameters in all",
        "learning_rate": "high for new weights; halve it where the loss does not fall",
        "steps": plan.steps.reason,
        "batch": plan.batch.reason,
        "accumulate": f"a batch in {training} parts, since memory holds no more",
        "precision": plan.precision.reason,
        "augmentation": plan.augmentation.reason,
        "validate_every": "the best of these on the validation split is kept",
        "validate_slices": "at most so many, so that validation takes about a tenth of the time",
    }
    yield "recipes:"
    yield "  sdseg: # one-step latent diffusion, the default (docs/method.md)"
    yield "    file: config/recipes/sdseg.yaml"
    yield "    overrides:"
    for section, entries in values.items():
        yield f"      {section}:"
        yield from _entries(entries, reasons, 8)
    yield "  # nnU-Net's network on the same data, to compare with; in long trainings it may be ahead:"
    yield "  # unet:"
    yield "  #   file: config/recipes/unet.yaml"
    yield "  #   overrides:"
    yield f"  #     network: {_flow({'channels': UNET[plan.name]})}"
    yield f"  #     training: {_flow(values['training'])}"


def _dataset(data: OwnData, plan: Plan, name: str) -> Iterator[str]:
    yield "datasets:"
    yield f"  {name}:"
    yield f"    source: {data.source.name}" + (
        f" # the files lie as {data.source.title} ships them" if data.layout is None else ""
    )
    yield f"    raw: {_flow(str(data.folder))} # only read; a relative path is seen from where snakemake runs"
    if data.layout is None and data.source.split_by == "file":
        yield "    allow_missing: true # cases of the committed split that are not here are left out"
    yield from _reasoned("size", plan.shape.size, 4)
    if plan.shape.tiles is not None:
        yield from _reasoned("tiles", plan.shape.tiles, 4)
    if data.volumes:
        axial = data.survey.plane == "axial"
        reason = (
            "or coronal, sagittal, coarsest (docs/data.md)" if axial else "the voxels are longest across these slices"
        )
        yield f"    slicing: {data.survey.plane} # {reason}"
    if plan.shape.spacing is not None:
        yield from _reasoned("spacing", plan.shape.spacing, 4)
        yield "    fit: shrink # or crop: what is larger than `size` is then cut off"
    if data.layout is None:
        targets = list(data.source.targets)
        if len(targets) > 1:
            yield f"    target: {_flow(targets[0])} # or {', '.join(targets[1:])}"
        return
    if not data.has_splits:
        yield from _split(data)
    if data.partly_drawn:
        yield f"    missing_annotators: allow # {data.partly_drawn} case(s) lack the mask of one of them"
    structures = data.structures
    if len(structures) > 1:
        yield "    target: each # or together: one of `targets` below"
    yield "    own:"
    yield f"      layout: {data.layout.layout}"
    yield from _reasoned("modality", Reasoned(data.modality, data.modality_reason), 6)
    yield f"      title: {_flow(name)} # as it is called on the report page"
    for key, value in data.layout.places.items():
        yield f"      {key}: {_flow(value)}" + (" # below the folder of the data" if key in ("images", "table") else "")
    if data.meaning is not None:
        yield from _reasoned("labels", Reasoned(dict(data.meaning.labels), "give them their names; 0 is background"), 6)
        if data.meaning.mask_values:
            yield from _reasoned("mask_values", Reasoned(dict(data.meaning.mask_values), data.meaning.reason), 6)
        if data.meaning.lossy:
            yield "      lossy_masks: true # a value between two levels goes to the nearer one"
    if len(structures) > 1:
        yield from _targets(data)
    yield from _normalisation(data)
    if data.source.channels:
        yield f"      shown_channel: {_flow(data.source.channels[0])} # in pictures; the model sees all of them"
    if data.group_hint is not None:
        pattern, count = data.group_hint
        yield from _comment(
            f"Do the first parts of the names tell the patient ({count} of them)? Then take away the '#', so that no "
            "patient lies in two splits:",
            "      # ",
            "      # ",
        )
        yield f"      # group_pattern: '{pattern}'"


def _split(data: OwnData) -> Iterator[str]:
    fractions = [0.6, 0.2, 0.2] if data.survey.groups < 30 else [0.8, 0.1, 0.1]
    why = (
        "few cases: more of them to test on"
        if data.survey.groups < 30
        else "drawn once, whole patients where they are known"
    )
    yield f"    split: {_flow({'seed': 0, 'fractions': fractions})} # train, val, test; {why}"


def _targets(data: OwnData) -> Iterator[str]:
    named = data.layout is not None and data.layout.layout == "nnunet"
    each = {name: [name] if named else list(ids) for name, ids in data.structures.items()}
    every = sorted({one for ids in each.values() for one in ids}, key=lambda one: (str(one) if named else "", one))
    yield "      targets: # what is segmented: each a structure of its own, or all as one mask (quicker to learn)"
    yield from _reasoned("each", Reasoned(each, ""), 8)
    yield from _reasoned("together", Reasoned({"all": every}, ""), 8)


def _normalisation(data: OwnData) -> Iterator[str]:
    if data.window is not None:
        yield from _reasoned(
            "windows", Reasoned({"labelled": [round(end) for end in data.window]}, data.normalisation_reason), 6
        )
    elif data.volumes:
        how = data.normalisation or {"method": "percentiles", "low": 0.5, "high": 99.5}
        yield from _reasoned("normalisation", Reasoned(how, data.normalisation_reason), 6)


def _export(plan: Plan) -> Iterator[str]:
    yield "export:"
    cases = 4 if plan.preset.device == "cpu" else 16
    yield f"  parity_cases: {cases} # test cases on which the ONNX graph is held to the model; null for all"
    yield "studies:"
    yield "  limit: 16 # test cases of `snakemake studies`, which finds out more about the model (docs/results.md)"


def _entries(values: dict[str, Any], reasons: dict[str, str], indent: int) -> Iterator[str]:
    for key, value in values.items():
        yield from _reasoned(key, Reasoned(value, reasons.get(key, "")), indent)


def _reasoned(key: str, value: Reasoned, indent: int) -> Iterator[str]:
    """A key and its value, the reason behind them, or above them where there is no room."""
    lead, reason = " " * indent, value.reason
    line = f"{lead}{key}: {_flow(value.value)}"
    if len(line) > WIDTH and isinstance(value.value, dict):
        yield from _comment(reason, f"{lead}# ", f"{lead}# ")
        yield f"{lead}{key}:"
        for inner, content in value.value.items():
            yield f"{lead}  {_flow(inner)}: {_flow(content)}"
    elif not reason:
        yield line
    elif len(line) + len(reason) + 3 <= WIDTH:
        yield f"{line} # {reason}"
    else:
        yield from _comment(reason, f"{lead}# ", f"{lead}# ")
        yield line


def _comment(text: str, first: str = "# ", later: str = "# ") -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=100_000)
    return text.removesuffix("\n").removesuffix("\n...")
