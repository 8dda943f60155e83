"""The studies of `sdseg evaluate`, as a user asks for them; apart from all else, so that `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["STUDY_OPTIONS", "StudyOption"]


@dataclass(frozen=True)
class StudyOption:
    """What `--<name>` asks for, and the options that mean nothing without it."""

    help: str
    needed_by: tuple[str, ...] = ()
    counts: bool = False  # takes a number of runs; else it is on or off


# By the names of their files, which are those of the fields of `Studies`.
STUDY_OPTIONS = {
    "efficiency": StudyOption("parameters, FLOPs, latency, memory: efficiency.json"),
    "sweep": StudyOption("Dice and time by reverse steps and samples: sweep.json", ("steps", "samples")),
    "stability": StudyOption("M runs that differ in their noise: stability.json", ("lpips",), counts=True),
    "robustness": StudyOption("Dice when images get worse: robustness.json"),
    "latents": StudyOption("pictures of latents, before and after training", ("codec", "start_from")),
}
