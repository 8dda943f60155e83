"""Dice per structure, recipe beside recipe: over cases, over seeds, and which recipes are left out."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from sdseg.report.collect import collect_results
from sdseg.report.formats import spread
from sdseg.report.structure_comparison import structure_comparison
from tests.helpers.stage_results import StageResults, edit_json


def test_structures_of_all_recipes_stand_side_by_side(stages: StageResults, tmp_path: Path) -> None:
    stages.results(tmp_path, ("cvc",))
    for name in ("ldseg", "other", "sdseg-seed0", "sdseg-seed1"):
        stages.run(tmp_path / "refuge2" / name)
    summaries = {name: tmp_path / "refuge2" / name / "evaluation" / "summary.json" for name in ("ldseg", "sdseg-seed1")}
    read = {name: json.loads(path.read_text("utf-8")) for name, path in summaries.items()}
    read["sdseg-seed1"]["structures"]["cup"]["dice"]["mean"] += 0.1
    summaries["sdseg-seed1"].write_text(json.dumps(read["sdseg-seed1"]), "utf-8")
    edit_json(tmp_path / "refuge2" / "other" / "evaluation" / "summary.json", protocol="paper")
    one_structure, two = collect_results(tmp_path).datasets
    assert structure_comparison(one_structure) is None
    found = structure_comparison(two)
    assert found is not None
    assert (found.recipes, found.left_out) == (("ldseg", "sdseg"), ("other",))
    assert list(found.rows) == ["disc", "cup", "mean over structures"]
    dice = read["ldseg"]["structures"]["cup"]["dice"]
    assert found.rows["cup"][0].text == f"{dice['mean']:.3f} ± {dice['sd']:.3f}"
    means = [dice["mean"], read["sdseg-seed1"]["structures"]["cup"]["dice"]["mean"]]
    assert found.rows["cup"][1].text == spread(statistics.mean(means), statistics.stdev(means))
    assert found.rows["mean over structures"][0].text.startswith(f"{two.runs[0].summary.dice.mean:.3f}")
