"""`sdseg configure`: a folder of data to a commented configuration that can be run, with its reasons."""

from __future__ import annotations

import re
from pathlib import Path

from sdseg.cli.configuration_text import configuration_text, run_command, seen_in_words
from sdseg.cli.fit_preset import Plan, default_preset, fit, in_minutes, this_machine
from sdseg.cli.own_data import OwnData, read_own_data
from sdseg.core.errors import UserError
from sdseg.core.files import write_text
from sdseg.core.overwrite_checks import check_apart
from sdseg.core.yaml_json import yaml_value
from sdseg.datasets.check_configuration import FOLDERS, TARGETS, check_machine, configure
from sdseg.datasets.split_files import SPLITS
from sdseg.sizing.presets import PRESETS

__all__ = ["write_configuration"]


def write_configuration(
    data: Path,
    output: Path,
    *,
    preset: str | None = None,
    modality: str | None = None,
    images: str | None = None,
    masks: str | None = None,
    annotators: bool = False,
    name: str | None = None,
    probed: bool = True,
) -> int:
    """Look at the files in `data` and write a workflow configuration for them to `output`; 0.

    Parameters
    ----------
    data: folder with images or volumes and their masks; only read.
    output: YAML file to write; refused where it is there already.
    preset: scale and length of the training (sizing/presets.py); default by the machine.
    modality, images, masks, annotators: what the user says of the files, in the place of what they tell.
    name: of the dataset in the results; default: that of the folder.
    probed: make a few training steps, to say how many fit into the preset's time.

    Raises UserError or ListedError for whatever forbids to use the data; nothing is then written.
    """
    _check_new(output)
    check_apart(output, data)
    machine = this_machine(gpu=preset is None or PRESETS[preset].device == "cuda")
    asked_for = {"modality": modality, "images": images, "masks": masks}
    own = read_own_data(data, **asked_for, annotators=annotators, jobs=machine.cores)
    if own.survey.groups < len(SPLITS):
        raise UserError(
            f"{own.survey.groups} case(s): training, validation and test need one each, of different patients",
            where=data,
            remedy="add cases; a model can be tried on others by 'sdseg predict'",
        )
    chosen, why = (preset, "you asked for it") if preset is not None else default_preset(machine)
    plan = fit(own, chosen, machine, probed=probed)
    title = name or _name_of(data)
    text = configuration_text(own, plan, title, output, plan.preset.device, why)
    run = configure(yaml_value(text, where=output), where=str(output))
    check_machine(run)
    _check_new(output)
    write_text(output, text)
    _tell(own, plan, output, why)
    return 0


def _check_new(output: Path) -> None:
    if output.exists() or output.is_symlink():
        raise UserError("this file is there already, and is kept", where=output, remedy="name another, or move it away")


def _tell(own: OwnData, plan: Plan, output: Path, why_preset: str) -> None:
    """What was seen and decided, for whoever waits at the terminal."""
    for line in seen_in_words(own):
        print(line)
    length = "" if plan.seconds is None else f", about {in_minutes(plan.seconds)} of training here"
    print(f"preset: {plan.name}, since {why_preset}")
    print(f"training: {plan.steps.value} steps of {plan.batch.value} at size {plan.shape.size.value}{length}")
    for key, value in (("tiles", plan.shape.tiles), ("spacing", plan.shape.spacing)):
        if value is not None:
            print(f"{key}: {value.reason}")
    if own.layout is not None and own.layout.ignored:
        print(f"not used: {', '.join(own.layout.ignored)}")
    if own.group_hint is not None:
        print("patients: none are known; see 'group_pattern' in the file")
    print(f"written: {output}. Read it, then: {run_command(plan, output)}")


def _name_of(folder: Path) -> str:
    """A name that a dataset may have, from that of its folder."""
    name = re.sub(r"[^a-z0-9_-]+", "-", folder.resolve().name.lower()).strip("-_")[:100]
    return name if name and name not in (*TARGETS, *FOLDERS) else f"my-{name or 'data'}"
