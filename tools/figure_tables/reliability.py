"""Bad inputs and killed runs."""

from __future__ import annotations

from tools.figure_tables.markdown import Figures, measured, table

__all__ = ["bad_input", "kills"]


def bad_input(values: Figures) -> str:
    def row(name: str, outcomes: dict[str, int]) -> tuple[object, ...]:
        refused, noted, total = outcomes.get("refused", 0), outcomes.get("noted", 0), sum(outcomes.values())
        return name, total, refused, noted, total - refused - noted

    rows = [row(name, outcomes) for name, outcomes in values["families"].items()]
    defects = ", ".join(f"`{each['name']}` ({each['outcome']})" for each in values["defects"])
    said = f"{measured(values)}{values['inputs']:,} inputs; tracebacks: {values['tracebacks']}, silent: "
    said += f"{values['silent']}, the slowest answer {values['slowest_seconds']:.0f} s."
    said += f" Not answered as it should be: {defects}.\n" if defects else "\n"
    return (
        f"{said}\n{table(('family', 'inputs', 'refused', 'noted', 'other'), [*rows, row('all', values['outcomes'])])}"
    )


def kills(values: Figures) -> str:
    rows = [
        (way, each["kills"], each["identical"], "not counted" if "main process" in way else each["lost_steps_max"])
        for way, each in sorted(values["by_signal"].items())
    ]
    said = f"{measured(values)}{values['kills']} kills at random times in {values['pipelines']} runs of the mini "
    said += f"pipeline; a training keeps its state every {values['checkpoint_every']} steps.\n"
    return f"{said}\n{table(('how', 'kills', 'results identical', 'most steps lost'), rows)}"
