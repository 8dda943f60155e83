"""Settings of `export`, engines and studies: from a file, under the options, and the options held to the models."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from sdseg.cli.commands import HANDLERS, main
from sdseg.cli.evaluate_command import _studies
from sdseg.cli.export_command import _engine_settings, _export_settings
from sdseg.cli.parser import build_parser
from sdseg.cli.predict_options import number_as_samples
from sdseg.config.export import Engines, Export
from sdseg.config.studies import Studies
from sdseg.core.errors import ListedError

EXPORT = ["export", "--model", "m", "--output", "o"]
EVALUATE = ["evaluate", "--prepared", "p", "--model", "m", "--output", "o"]
# Options that stand for fields of the settings, and those of the fields that files alone tell.
FIELDS = {
    "export": [(Export, ("tolerances",)), (Engines, ("precisions", "missing"))],
    "evaluate": [(Studies, ("in_all",))],
}
WORDS_FOR_NONE = {"all", "all there is", "none", "no LPIPS"}


def parsed(*words: str | Path) -> argparse.Namespace:
    return build_parser(HANDLERS).parse_args(list(map(str, words)))


def actions(verb: str) -> dict[str, argparse.Action]:
    (verbs,) = (each.choices for each in build_parser(HANDLERS)._actions if each.dest == "verb")
    assert isinstance(verbs, dict)
    return {action.dest: action for action in verbs[verb]._actions}


def options() -> list[Any]:
    """Verb, model and field of every option that stands for a field."""
    return [
        pytest.param(verb, model, name, id=f"{model.__name__}.{name}")
        for verb, models in FIELDS.items()
        for model, of_file_alone in models
        for name in model.model_fields
        if name not in of_file_alone
    ]


def in_words(value: Any) -> str:
    if isinstance(value, BaseModel):  # sizes of a batch
        value = tuple(value.model_dump().values())
    return (
        ",".join(map(str, value)) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else value
    )


@pytest.mark.parametrize(("verb", "model", "name"), options())
def test_the_help_tells_the_default_of_the_settings(verb: str, model: type[BaseModel], name: str) -> None:
    action, default = actions(verb)[name], model.model_fields[name].default
    assert action.default is None, "an option that is not given lies over nothing"
    if isinstance(action, argparse.BooleanOptionalAction) or name == "stability":  # not asked for, not made
        return
    shown = re.search(r"\(default: (.*)\)$", str(action.help))
    assert shown is not None
    assert shown[1] in WORDS_FOR_NONE if default is None else shown[1] == str(in_words(default))


def test_a_number_of_hypotheses_may_follow_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("export", "--model", "m", "--output", "o")
    given_as = {"--hypotheses": True, "--hypotheses 8": 8, "--hypotheses=2": 2, "--no-hypotheses": False, "": None}
    for text, expected in given_as.items():
        assert parsed(*words, *text.split()).hypotheses is expected
    for wrong, message in {
        "--hypotheses 1": "no whole number from 2 to 1000",
        "--no-hypotheses 8": "takes no number",
    }.items():
        with pytest.raises(SystemExit, match="2"):
            parsed(*words, *wrong.split())
        assert message in capsys.readouterr().err


def test_a_number_of_hypotheses_to_predict_is_told_from_an_input() -> None:
    words = ("predict", "--model", "m", "--output", "o")
    for text, expected in {
        "--hypotheses": (True, None, []),
        "--hypotheses 8": (True, 8, []),
        "a.png --hypotheses=8": (True, 8, ["a.png"]),
        "--hypotheses 8 9 a.png": (True, 8, ["9", "a.png"]),
        "--hypotheses 8.png --samples 4": (True, 4, ["8.png"]),
        "8": (False, None, ["8"]),
    }.items():
        given = parsed(*number_as_samples([*words, *text.split()]))
        assert (given.hypotheses, given.samples, list(map(str, given.inputs))) == expected
    assert number_as_samples(["export", "--hypotheses", "8"]) == ["export", "--hypotheses", "8"]


@pytest.mark.parametrize(("verb", "model", "name"), options())
def test_an_option_takes_what_the_settings_take(verb: str, model: type[BaseModel], name: str) -> None:
    action, schema = actions(verb)[name], model.model_json_schema()["properties"][name]
    if "enum" in schema:
        assert action.choices is not None
        assert list(action.choices) == schema["enum"]
    bounds = next((each for each in schema.get("anyOf", [schema]) if "type" in each), schema)
    bounds = bounds.get("items", bounds)
    for bound, beyond in (("minimum", -1), ("maximum", 1)):
        if bound in bounds:
            assert callable(action.type)
            action.type(str(bounds[bound]))
            with pytest.raises(argparse.ArgumentTypeError, match=r"no (whole )?number"):
                action.type(str(bounds[bound] + beyond))


def test_every_tolerance_is_named(tmp_path: Path) -> None:
    given = [f"{precision}.{name}=0.5" for precision, each in Export().tolerances for name, _ in each]
    assert len(given) == 20
    chosen = _export_settings(parsed(*EXPORT, *(word for each in given for word in ("--tolerance", each))))
    assert {value for _, each in chosen.tolerances for _, value in each} == {0.5}


def test_options_lie_over_the_file_of_the_export(tmp_path: Path) -> None:
    settings = Export(opset=19, parity_cases=7, providers=("cpu", "openvino")).model_dump(mode="json")
    settings["tolerances"]["int8"]["min_mask_dice"] = 0.9
    file = tmp_path / "export é.yaml"
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert _export_settings(parsed(*EXPORT, "--settings", file)).model_dump(mode="json") == settings
    words = ("--opset", "20", "--precisions", "fp32,int8", "--tolerance", "int8.max_dice_difference=0.03")
    chosen = _export_settings(parsed(*EXPORT, "--settings", file, *words))
    assert (chosen.opset, chosen.precisions, chosen.parity_cases) == (20, ("fp32", "int8"), 7)
    assert chosen.providers == ("cpu", "openvino")
    assert (chosen.tolerances.int8.max_dice_difference, chosen.tolerances.int8.min_mask_dice) == (0.03, 0.9)
    assert _export_settings(parsed(*EXPORT)) == Export()


def test_options_lie_over_the_file_of_engines(tmp_path: Path) -> None:
    file = tmp_path / "engines.yaml"
    file.write_text("{level: 5, tf32: true, batches: {min: 1, opt: 2, max: 4}, timing_cache: c}", encoding="utf-8")
    words = [*EXPORT, "--to", "tensorrt", "--engine-settings", file]
    chosen = _engine_settings(parsed(*words))
    assert (chosen.level, chosen.tf32, chosen.batches.max, chosen.timing_cache) == (5, True, 4, "c")
    chosen = _engine_settings(parsed(*words, "--level", "0", "--no-tf32", "--batches", "1,8,32"))
    assert (chosen.level, chosen.tf32, chosen.batches.max, chosen.timing_cache) == (0, False, 32, "c")


def test_options_lie_over_the_file_of_studies(tmp_path: Path) -> None:
    file = tmp_path / "studies.yaml"
    file.write_text("{sweep: false, steps: [1, 2], limit: 9}", encoding="utf-8")
    chosen = _studies(parsed(*EVALUATE, "--studies", file, "--sweep", "--no-latents", "--limit", "3"))
    assert chosen.names == ("efficiency", "sweep", "stability", "robustness")
    assert (chosen.steps, chosen.samples, chosen.limit, chosen.stability) == ((1, 2), (1, 5), 3, 5)
    assert _studies(parsed(*EVALUATE, "--sweep")).names == ("sweep",)  # without a file what is asked for alone


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*EXPORT, "--level", "3"], "it means nothing with '--to onnx'\n  where:  --level\n"),
        ([*EXPORT, "--max-batch", "8"], "it means nothing with '--to onnx'\n  where:  --max-batch\n"),
        ([*EXPORT, "--no-tf32"], "it means nothing with '--to onnx'\n  where:  --tf32\n"),
        ([*EXPORT, "--engine-settings", "f"], "it means nothing with '--to onnx'\n  where:  --engine-settings\n"),
        ([*EXPORT, "--to", "tensorrt", "--opset", "21"], "it means nothing with '--to tensorrt'\n  where:  --opset\n"),
        ([*EXPORT, "--to", "tensorrt", "--cpu"], "leave it out; it belongs to --to triton"),
        ([*EXPORT, "--to", "triton", "--settings", "f"], "leave it out; it belongs to --to onnx or tensorrt"),
        ([*EXPORT, "--to", "triton", "--tolerance", "int8.min_mask_dice=0"], "where:  --tolerance\n"),
        ([*EXPORT, "--to", "triton", "--prepared", "p"], "where:  --prepared\n"),
        ([*EVALUATE, "--sweep", "--lpips", "fetch"], "it means nothing without --stability\n  where:  --lpips\n"),
        ([*EVALUATE, "--efficiency", "--codec", "c"], "it means nothing without --latents\n  where:  --codec\n"),
        ([*EVALUATE, "--sweep", "--nsd-tolerance", "1"], "it means nothing with a study\n  where:  --nsd-tolerance\n"),
        ([*EVALUATE, "--sweep", "--choose-threshold"], "it means nothing with a study\n  where:  --choose-threshold\n"),
        ([*EVALUATE, "--no-sweep"], "it means nothing without a study\n  where:  --sweep\n"),
        ([*EVALUATE, "--steps", "1,2"], "it means nothing without a study\n  where:  --steps\n  remedy: add --sweep"),
    ],
)
def test_what_means_nothing_is_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_every_option_of_export_has_its_kind() -> None:
    from sdseg.cli.export_command import USED

    assert set(USED) == set(actions("export")) - {"help", "verbose", "model", "output", "to"}


def test_mistakes_in_a_file_are_named_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("{levle: 3}", encoding="utf-8")
    with pytest.raises(ListedError, match=r"unknown key 'levle': did you mean 'level'\?(?s:.*)wrong\.yaml"):
        _engine_settings(parsed(*EXPORT, "--engine-settings", file))
    assert main([*EXPORT, "--prepared", "p", "--settings", str(file)]) == 2
    assert "wrong.yaml" in capsys.readouterr().err
    file.write_text("{efficiency: false, sweep: false, stability: null, robustness: false, latents: false}", "utf-8")
    assert main([*EVALUATE, "--studies", str(file)]) == 2
    assert "no study is left" in capsys.readouterr().err
