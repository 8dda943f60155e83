"""The configuration tree: what it accepts, and one clear error for everything it does not."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import math
import pkgutil
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import sdseg
from sdseg.config.codec import Codec
from sdseg.config.dataset import Dataset, load_dataset
from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe, load_codec, load_recipe
from sdseg.config.recipe_overrides import lay_over
from sdseg.config.run import Config, json_schema, load_config
from sdseg.config.training import Training
from sdseg.core.errors import ListedError, UserError, nearest
from sdseg.core.settings import Strict, merge, parse, read_yaml

Values = dict[str, Any]

LAYOUT: Values = {"block_out_channels": [8, 16], "norm_num_groups": 4}
RECIPE: Values = {
    "description": "tiny",
    "network": {
        "kind": "latent-diffusion",
        "codec": "tiny",
        "condition": LAYOUT,
        "denoiser": {"block_out_channels": [8, 8], "attention": [False, True], "norm_num_groups": 4, "heads": 2},
    },
    "diffusion": {},
}
DIRECT: Values = {"description": "plain", "network": {"kind": "direct"}}


@pytest.fixture
def config(tmp_path: Path) -> Values:
    """A small valid configuration."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    return {
        "codecs": {"tiny": {**LAYOUT, "training": {"steps": 2}}},
        "recipes": {"sdseg": {"file": str(recipe)}},
        "datasets": {"kseg": {"source": "kseg", "size": 32}},
    }


def put(values: Values, path: str, value: Any) -> Values:
    """A copy of `values` with the value at `a.b.c` set; '-' as value takes the key out."""
    changed = copy.deepcopy(values)
    *sections, last = path.split(".")
    place = changed
    for section in sections:
        place = place.setdefault(section, {})
    if value == "-":
        del place[last]
    else:
        place[last] = value
    return changed


def refused(call: Callable[[], Any]) -> UserError:
    with pytest.raises(UserError, match="remedy: ") as caught:
        call()
    return caught.value


# What is accepted


@pytest.mark.parametrize(
    "name", ["config.yaml", "curves.yaml", "demo.yaml", "evidence.yaml", "multiclass.yaml", "samples.yaml"]
)
def test_committed_configurations(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    loaded = load_config(Path("config") / name)
    for dataset in loaded.datasets:
        for recipe in loaded.recipes_of(dataset):
            assert loaded.resolve_recipe(dataset, recipe).description
    jsonschema.Draft202012Validator(json_schema()).validate(read_yaml(Path("config") / name))


def test_committed_recipes(root: Path) -> None:
    files = sorted((root / "config/recipes").glob("*.yaml"))
    assert "sdseg" in {file.stem for file in files}
    for file in files:
        assert load_recipe(file).description


def test_default_configuration_is_the_papers_scale(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    loaded = load_config(Path("config/config.yaml"))
    assert set(loaded.datasets) == {"cvc", "kseg", "refuge2", "btcv", "sts"}
    assert loaded.device == "cuda"
    for dataset in loaded.datasets.values():
        assert (dataset.size, dataset.origin, dataset.protocol) == (256, "real", "clean")
    network = loaded.resolve_recipe("kseg", "sdseg").network
    assert isinstance(network, LatentNetwork)
    assert network.denoiser.block_out_channels == (384, 512, 512, 512)
    assert loaded.codecs[network.codec].factor == 8


def test_values_survive_their_file(config: Values, tmp_path: Path) -> None:
    loaded = parse(Config, config, where="here")

    def written(model: Any) -> Path:
        path = tmp_path / "one.yaml"
        path.write_text(yaml.safe_dump(model.model_dump(mode="json")), encoding="utf-8")
        return path

    assert load_config(written(loaded)) == loaded
    assert load_dataset(written(loaded.datasets["kseg"])) == loaded.datasets["kseg"]
    assert load_codec(written(loaded.codecs["tiny"])) == loaded.codecs["tiny"]
    recipe = loaded.resolve_recipe("kseg", "sdseg")
    assert load_recipe(written(recipe)) == recipe


def test_overrides_reach_the_recipe_in_order(config: Values) -> None:
    config = put(config, "recipes.sdseg.overrides", {"training": {"steps": 7, "batch": 2}})
    config = put(config, "datasets.kseg.overrides", {"training": {"steps": 9}})
    config = put(config, "datasets.cvc", {"source": "cvc", "size": 64})
    loaded = parse(Config, config, where="here")
    assert loaded.resolve_recipe("kseg", "sdseg").training.steps == 9
    assert loaded.resolve_recipe("cvc", "sdseg").training.steps == 7
    assert loaded.resolve_recipe("cvc", "sdseg").training.batch == 2


def test_a_dataset_overrides_one_recipe_alone(config: Values) -> None:
    """After the recipe's own and the dataset's, which hold for all; trainings with seeds have them by either name."""
    config = put(config, "recipes.sdseg.overrides", {"training": {"steps": 7, "batch": 2, "workers": 0}})
    file = config["recipes"]["sdseg"]["file"]
    config = put(config, "recipes.other", {"file": file, "seeds": [3, 4], "ensemble": True})
    config = put(config, "datasets.kseg.overrides", {"training": {"steps": 9, "log_every": 5}})
    own = {"sdseg": {"overrides": {"training": {"steps": 11}}}, "other": None}
    loaded = parse(Config, put(config, "datasets.kseg.recipes", own), where="my.yaml")
    assert loaded.recipes_of("kseg") == ("sdseg", "other-seed3", "other-seed4", "other-ensemble")
    training = loaded.resolve_recipe("kseg", "sdseg").training
    assert (training.steps, training.batch, training.log_every) == (11, 2, 5)
    assert loaded.resolve_recipe("kseg", "other-seed3").training.steps == 9
    one = {"other": {"overrides": {"training": {"batch": 6}}}, "other-seed4": {"overrides": {"training": {"batch": 8}}}}
    loaded = parse(Config, put(config, "datasets.kseg.recipes", one), where="my.yaml")
    batches = [loaded.resolve_recipe("kseg", name).training.batch for name in loaded.recipes_of("kseg")]
    assert batches == [6, 8, 6]  # the ensemble is as its first member
    # As a list, as ever.
    loaded = parse(Config, put(config, "datasets.kseg.recipes", ["sdseg"]), where="my.yaml")
    assert loaded.resolve_recipe("kseg", "sdseg").training.steps == 9


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ({"sdsegg": None}, "datasets.kseg.recipes: unknown recipe 'sdsegg', did you mean 'sdseg'?"),
        ({"sdseg": {"override": {}}}, "unknown key 'datasets.kseg.recipes.sdseg.override': did you mean 'overrides'?"),
        ({"sdseg": 3}, "datasets.kseg.recipes.sdseg"),
        ({"many-ensemble": {"overrides": {"training": {"steps": 1}}}}, "give 'overrides' to the recipe"),
        ("sdseg", "datasets.kseg.recipes: Input should be a valid list"),
    ],
)
def test_overrides_of_one_recipe_that_are_refused(config: Values, recipes: Any, message: str) -> None:
    file = config["recipes"]["sdseg"]["file"]
    config = put(config, "recipes.many", {"file": file, "seeds": [3, 4], "ensemble": True})
    with pytest.raises(ListedError, match=re.escape(message)):
        parse(Config, put(config, "datasets.kseg.recipes", recipes), where="my.yaml")


def test_wrong_overrides_of_one_recipe_name_their_place(config: Values) -> None:
    wrong = {"sdseg": {"overrides": {"training": {"stepps": 3}}}}
    loaded = parse(Config, put(config, "datasets.kseg.recipes", wrong), where="my.yaml")
    with pytest.raises(ListedError, match=r"stepps(.|\n)*datasets.kseg.recipes.sdseg"):
        loaded.resolve_recipe("kseg", "sdseg")
    seeded = put(config, "recipes.sdseg.seeds", [1])
    own = {"sdseg": {"overrides": {"training": {"seed": 3}}}}
    loaded = parse(Config, put(seeded, "datasets.kseg.recipes", own), where="my.yaml")
    with pytest.raises(UserError, match=r"datasets\.kseg\.recipes\.sdseg\.overrides\.training\.seed"):
        loaded.resolve_recipe("kseg", "sdseg-seed1")


def test_overrides_of_a_command_line(config: Values) -> None:
    file = Path(config["recipes"]["sdseg"]["file"])
    assert load_recipe(file, {"training": {"steps": 3}}).training.steps == 3


def test_where_files_are_looked_for(config: Values) -> None:
    config = put(put(config, "raw", "/data"), "splits", "mine")
    config = put(config, "datasets.twin", {"source": "kseg", "raw": "/elsewhere/k", "split_file": "s.csv", "size": 32})
    loaded = parse(Config, put(config, "datasets.kseg.protocol", "paper"), where="here")
    assert loaded.raw_folder("kseg") == Path("/data/kseg")
    assert loaded.raw_folder("twin") == Path("/elsewhere/k")
    assert loaded.split_path("kseg") == Path("mine/kseg/paper.csv")
    assert loaded.split_path("twin") == Path("s.csv")


def test_recipes_of_a_dataset(config: Values) -> None:
    config = put(config, "recipes.unet", config["recipes"]["sdseg"])
    config = put(config, "datasets.cvc", {"source": "cvc", "recipes": ["unet"]})
    loaded = parse(Config, config, where="here")
    assert loaded.recipes_of("kseg") == ("sdseg", "unet")
    assert loaded.recipes_of("cvc") == ("unet",)


def test_factor_counts_halvings() -> None:
    assert Codec(block_out_channels=(32, 32, 32, 32), weights="w").factor == 8
    assert Codec(block_out_channels=(32, 32), weights="w").factor == 2


# What is refused

WRONG: list[tuple[str, Any, str]] = [
    ("devise", "cpu", "unknown key 'devise': did you mean 'device'?"),
    ("datasets.kseg.sise", 64, "unknown key 'datasets.kseg.sise': did you mean 'size'?"),
    ("codecs.tiny.training.step", 1, "unknown key 'codecs.tiny.training.step': did you mean 'steps'?"),
    ("export.opsett", 21, "unknown key 'export.opsett': did you mean 'opset'?"),
    ("engines", {"precisions": {"fp32": 1}}, "engines.precisions: Input should be a valid list"),
    ("phantoms", {"sed": 1}, "unknown key 'phantoms.sed': did you mean 'seed'?"),
    ("recipes.sdseg.override", {}, "unknown key 'recipes.sdseg.override': did you mean 'overrides'?"),
    ("export.zzz", 1, "unknown key 'export.zzz': known here: calibration_images, hypotheses, max_abs_difference"),
    ("datasets.kseg.source", "-", "missing key 'datasets.kseg.source'"),
    ("recipes.sdseg.file", "-", "missing key 'recipes.sdseg.file'"),
    ("datasets", "-", "missing key 'datasets'"),
    ("datasets", {}, "datasets: "),
    ("recipes", {}, "recipes: "),
    ("datasets.Kvasir SEG", {"source": "kseg"}, "datasets.Kvasir SEG"),
    ("device", "gpu", "(got 'gpu')"),
    ("threads", 0, "threads: Input should be greater than or equal to 1 (got 0)"),
    ("threads", "many", "(got 'many')"),
    (
        "datasets.kseg.size",
        8,
        "datasets.kseg.size: a number of pixels from 16 to 8192 is expected, or two: [height, width]; or auto (got 8)",
    ),
    ("datasets.kseg.origin", "invented", "(got 'invented')"),
    ("export.opset", 11, "export.opset: "),
    ("export.max_abs_difference", 0, "export.max_abs_difference: "),
    ("export.providers", ["openvin"], "export.providers.0: "),
    (
        "export.tolerances",
        {"int8": {"max_abs_difference": 1}},
        "missing key 'export.tolerances.int8.max_mean_difference'",
    ),
    ("engines", {"precisions": ["fp16"]}, "engines.precisions: 'fp16' is not among export.precisions (fp32)"),
    ("engines", {"precisions": ["int8"]}, "engines.precisions.0: "),
    ("codecs.tiny.training", "-", "give either 'weights' (a pretrained codec) or 'training'"),
    ("codecs.tiny.weights", "folder", "give either 'weights' (a pretrained codec) or 'training'"),
    ("codecs.tiny.encodes", "labels", "'encodes: labels' learns the classes of a dataset; give 'training' with 'data"),
    ("codecs.tiny.encodes", "label", "codecs.tiny.encodes: Input should be 'mask', 'labels' or 'image'"),
    ("codecs.tiny.training.shapes", 0.5, "'shapes' is a share of 'data: dataset'"),
    ("codecs.tiny.training.class_weights", "inverse_frequency", "weighs the classes of a label map; set 'encodes: lab"),
    ("codecs.tiny.training.dice_weight", 1.0, "'training.dice_weight' is of the classes of a label map"),
    ("codecs.tiny.encodes", "image", "'encodes: image' learns from a dataset; give 'training' with 'data: dataset'"),
    ("codecs.tiny", {**LAYOUT, "encodes": "image", "weights": "w"}, "see no image before training, on which their"),
    ("codecs.tiny.norm_num_groups", 3, "8 channels cannot be normalised in 3 groups"),
    ("codecs.tiny.latent_scale", "guessed", "codecs.tiny.latent_scale"),
    ("datasets.kseg.recipes", ["sdsegg"], "datasets.kseg.recipes: unknown recipe 'sdsegg', did you mean 'sdseg'?"),
    ("datasets.kseg.origin", "phantom", "datasets.kseg: 'origin: phantom' needs a 'phantoms' section"),
    ("phantoms", {"scale": 0}, "phantoms.scale: "),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{path}={value}" for path, value, _ in WRONG])
def test_wrong_configuration(config: Values, path: str, value: Any, message: str) -> None:
    error = refused(lambda: parse(Config, put(config, path, value), where="my.yaml"))
    assert message in str(error)
    assert "where:  my.yaml" in str(error)


WRONG_RECIPES: list[tuple[Values, str, Any, str]] = [
    (RECIPE, "netwrok", {}, "unknown key 'netwrok': did you mean 'network'?"),
    (RECIPE, "network.denoser", {}, "unknown key 'network.denoser': did you mean 'denoiser'?"),
    (RECIPE, "network.condition.init", "copied", "(got 'copied')"),
    (
        RECIPE,
        "network.kind",
        "latent",
        "network.kind: 'latent' is none of 'latent-diffusion', 'end-to-end-diffusion', 'direct'",
    ),
    (RECIPE, "network.condition.architecture", "resnet", "network.condition.architecture: 'resnet' is none of 'auto"),
    (RECIPE, "network.condition", {"architecture": "unet", "init": "codec"}, "init': it means nothing with 'archit"),
    (RECIPE, "network.condition", {"architecture": "unet", "norm_num_groups": 4}, "means nothing with 'architecture"),
    (RECIPE, "network.condition", 3, "network.condition: Input should be a valid mapping"),
    (RECIPE, "network.channels", [4, 8], "unknown key 'network.channels': it means nothing with 'kind: latent-diff"),
    (DIRECT, "network.architecture", "resunet", "network.architecture: 'resunet' is none of 'unet', 'basic"),
    (DIRECT, "network.deep_supervision", True, "it means nothing with 'kind: direct, architecture: unet'"),
    (
        DIRECT,
        "network",
        {"kind": "direct", "architecture": "dynunet", "residual_units": 2},
        "'network.residual_units': it means nothing with 'kind: direct, architecture: dynunet'",
    ),
    (
        DIRECT,
        "network",
        {"kind": "direct", "architecture": "basic-unet", "channels": [8, 16]},
        "network.channels: List should have at least 5 items",
    ),
    (RECIPE, "training.precison", "bf16", "unknown key 'training.precison': did you mean 'precision'?"),
    (
        {**RECIPE, "training": {"structures": "present"}},
        "network.classes",
        "joint",
        "'training.structures: present' draws one structure a step, and 'network.classes: joint' trains all",
    ),
    (RECIPE, "network.condition.codec", "images", "gives the latents of images; set 'init: codec' and 'projection: qu"),
    (RECIPE, "training.accumulate", 3, "'batch' must be a multiple of 'accumulate'"),
    (RECIPE, "diffusion", "-", "a latent-diffusion network needs a 'diffusion' section"),
    (DIRECT, "diffusion", {}, "a direct network has no 'diffusion' section"),
    (DIRECT, "network.codec", "tiny", "unknown key 'network.codec'"),
    (RECIPE, "diffusion.beta_end", 0.001, "'beta_end' must not be smaller than 'beta_start'"),
    (RECIPE, "diffusion.loss_latent", 0.0, "'loss_noise', 'loss_latent', 'loss_velocity' and 'loss_mask' are all 0"),
    (RECIPE, "diffusion.train_noise", "zero", "'train_noise: zero'"),
    (
        RECIPE,
        "diffusion",
        {"train_noise": "zero", "train_timesteps": "last", "inference_noise": "gaussian"},
        "'train_noise: zero' needs 'inference_noise: zero'",
    ),
    (RECIPE, "diffusion.loss_mask_from", 5, "'loss_mask_from' and 'loss_mask_warmup' mean nothing with 'loss_mask: 0'"),
    (RECIPE, "diffusion.loss_mask_warmup", 5, "'loss_mask_from' and 'loss_mask_warmup' mean nothing with 'loss_mask:"),
    (RECIPE, "diffusion", {"loss_mask": 1, "loss_mask_from": 100_000}, "the second stage is missing: 'diffusion.loss_"),
    (RECIPE, "diffusion", {"loss_mask": 1, "loss_latent": 0, "loss_mask_from": 9}, "the first stage is missing: until"),
    (RECIPE, "optimiser.mask_learning_rate", 1e-3, "'optimiser.mask_learning_rate' is that of a second stage"),
    (DIRECT, "optimiser.mask_learning_rate", 1e-3, "'optimiser.mask_learning_rate' is that of a second stage"),
    (
        RECIPE,
        "network.decoder",
        "trained",
        "'network.decoder: trained' learns by the loss on the mask, and 'diffusion.l",
    ),
    (
        RECIPE,
        "network.decoder",
        "skips",
        "'network.decoder: skips' learns by the loss on the mask, and 'diffusion.loss",
    ),
    (RECIPE, "training.mask_loss", "tversky_ce", "'training.mask_loss: tversky_ce' means nothing with 'diffusion.los"),
    (DIRECT, "training.mask_loss", "dice", "training.mask_loss: Input should be 'dice_ce', 'dice_focal'"),
    (RECIPE, "network.denoiser.attention", [True], "'attention' needs one value per entry"),
    (RECIPE, "network.denoiser.heads", 3, "8 channels cannot be shared among 3 attention heads"),
    (RECIPE, "network.denoiser.norm_num_groups", 5, "8 channels cannot be normalised in 5 groups"),
    (RECIPE, "inference.threshold", 1.0, "inference.threshold: Input should be less than 1 (got 1.0)"),
    (RECIPE, "optimiser.learning_rate", 0, "optimiser.learning_rate: "),
    (RECIPE, "description", "-", "missing key 'description'"),
]


@pytest.mark.parametrize(
    ("recipe", "path", "value", "message"),
    WRONG_RECIPES,
    ids=[f"{path}={value}" for _, path, value, _ in WRONG_RECIPES],
)
def test_wrong_recipe(recipe: Values, path: str, value: Any, message: str) -> None:
    error = refused(lambda: parse(Recipe, put(recipe, path, value), where="r.yaml"))
    assert message in str(error)


def test_every_problem_is_listed_at_once(config: Values) -> None:
    config = put(put(put(config, "devise", "cpu"), "threads", 0), "datasets.kseg.sise", 1)
    error = refused(lambda: parse(Config, config, where="my.yaml"))
    assert isinstance(error, ListedError)
    assert len(error.problems) == 3
    assert all(problem in str(error) for problem in error.problems)


def test_wrong_override_names_both_places(config: Values) -> None:
    loaded = parse(Config, put(config, "datasets.kseg.overrides", {"training": {"stepps": 3}}), where="my.yaml")
    error = refused(lambda: loaded.resolve_recipe("kseg", "sdseg"))
    assert "unknown key 'training.stepps': did you mean 'steps'?" in str(error)
    assert "datasets.kseg" in str(error)


def test_an_encoder_of_a_codec_and_of_a_model_at_once(config: Values) -> None:
    condition = {"codec": "images", "init": "codec", "projection": "quant_conv"}
    overrides = {"network": {"condition": condition}, "start_from": {"model": "m"}}
    loaded = parse(Config, put(config, "recipes.sdseg.overrides", overrides), where="my.yaml")
    error = refused(lambda: loaded.resolve_recipe("kseg", "sdseg"))
    assert "'start_from' takes the condition encoder from a model" in str(error)


def test_windows_of_shapes_that_do_not_fit_into_them(config: Values) -> None:
    changed = put(config, "codecs.tiny.training", {"steps": 1, "size": 32, "crop": 64})
    error = refused(lambda: parse(Config, changed, where="my.yaml"))
    assert "'crop: 64' does not fit into shapes of 'size: 32'" in str(error)


def test_unknown_codec(config: Values) -> None:
    loaded = parse(Config, put(config, "recipes.sdseg.overrides", {"network": {"codec": "tinny"}}), where="my.yaml")
    error = refused(lambda: loaded.resolve_recipe("kseg", "sdseg"))
    assert "unknown codec 'tinny', did you mean 'tiny'?" in str(error)


LABELS = {**LAYOUT, "encodes": "labels", "training": {"data": "dataset"}}


@pytest.mark.parametrize(
    ("codec", "classes", "message"),
    [
        ({**LAYOUT, "training": {}}, "joint", "('classes: joint'), and the codec encodes one mask"),
        (LABELS, "per-class", "the codec encodes a whole label map ('encodes: labels'), and the network segments one"),
    ],
)
def test_codec_and_network_must_mean_the_same(config: Values, codec: Values, classes: str, message: str) -> None:
    changed = put(put(config, "codecs.tiny", codec), "recipes.sdseg.overrides", {"network": {"classes": classes}})
    error = refused(lambda: parse(Config, changed, where="my.yaml").resolve_recipe("kseg", "sdseg"))
    assert message in str(error)
    assert "codec 'tiny' of recipe 'sdseg', for kseg" in str(error)


def test_codec_and_condition_must_shrink_alike(config: Values) -> None:
    loaded = parse(Config, put(config, "codecs.tiny.block_out_channels", [8, 8, 8]), where="my.yaml")
    error = refused(lambda: loaded.resolve_recipe("kseg", "sdseg"))
    assert "the condition encoder shrinks the image 2×, the codec 4×" in str(error)


def test_a_condition_that_starts_as_the_codec_is_built_like_it(config: Values) -> None:
    changed = put(config, "codecs.tiny.latent_channels", 6)
    error = refused(lambda: parse(Config, changed, where="my.yaml").resolve_recipe("kseg", "sdseg"))
    assert "whose layout differs: latent_channels 4 against 6" in str(error)
    assert "codec 'tiny' of recipe 'sdseg', for kseg" in str(error)
    free = put(changed, "recipes.sdseg.overrides", {"network": {"condition": {"init": "random"}}})
    parse(Config, free, where="my.yaml").resolve_recipe("kseg", "sdseg")


def test_size_must_be_halved_often_enough(config: Values) -> None:
    loaded = parse(Config, put(config, "datasets.kseg.size", 30), where="my.yaml")
    error = refused(lambda: loaded.resolve_recipe("kseg", "sdseg"))
    assert "a multiple of 4 is needed" in str(error)
    assert error.remedy == "use size 28 or 32"


COARSER = {"architecture": "unet", "block_out_channels": [4, 4]}
DEEP = {"block_out_channels": [4] * 4, "attention": [False] * 4, "norm_num_groups": 2, "heads": 1}


@pytest.mark.parametrize(
    ("network", "size", "message"),
    [
        ({"kind": "direct"}, 24, "a multiple of 16 is needed"),
        ({"kind": "direct", "architecture": "basic-unet"}, 24, "a multiple of 16 is needed"),
        ({"kind": "direct", "architecture": "dynunet"}, 48, "a multiple of 32 is needed"),
        ({"kind": "direct", "architecture": "basic-unet"}, 16, "leaves one pixel at the coarsest level"),
        ({"kind": "direct", "norm": "batch"}, 16, None),
        ({"condition": {"architecture": "unet", "block_out_channels": [4, 4]}}, 32, None),
        (
            {"condition": {"architecture": "unet", "block_out_channels": [4, 4, 4]}},
            32,
            "shrinks the image 4×, the codec",
        ),
        ({"condition": COARSER | {"coarser_channels": [4]}}, 32, None),
        (
            {"condition": COARSER | {"coarser_channels": [4, 4, 4]}, "denoiser": DEEP},
            16,
            "leaves one pixel at the coarsest level",
        ),
        (
            {"condition": COARSER, "denoiser": {"architecture": "unet", "block_out_channels": [4] * 4}},
            16,
            "leaves one pixel at the coarsest level",
        ),
    ],
)
def test_sizes_that_a_network_cannot_take(config: Values, network: Values, size: int, message: str | None) -> None:
    overrides = {"network": network} | ({"diffusion": None} if "kind" in network else {})
    changed = put(put(config, "recipes.sdseg.overrides", overrides), "datasets.kseg.size", size)
    loaded = parse(Config, changed, where="my.yaml")
    if message is None:
        loaded.resolve_recipe("kseg", "sdseg")
    else:
        assert message in str(refused(lambda: loaded.resolve_recipe("kseg", "sdseg")))


def test_condition_levels_that_the_denoiser_has_no_place_for(config: Values) -> None:
    condition = COARSER | {"coarser_channels": [4] * 9}
    changed = put(config, "recipes.sdseg.overrides", {"network": {"condition": condition}})
    error = refused(lambda: parse(Config, changed, where="my.yaml").resolve_recipe("kseg", "sdseg"))
    assert "'condition.coarser_channels' has 9 entries, and the denoiser has only" in str(error)


def test_another_architecture_begins_its_section_anew() -> None:
    """Keys of the old one would mean nothing; those of the same one stay."""
    over = {"network": {"condition": {"architecture": "unet", "latent_channels": 64}}}
    laid = lay_over(RECIPE, over)
    assert laid["network"]["condition"] == {"architecture": "unet", "latent_channels": 64}
    assert laid["network"]["denoiser"] == RECIPE["network"]["denoiser"]
    again = lay_over(laid, {"network": {"condition": {"architecture": "unet", "dropout": 0.1}}})
    assert again["network"]["condition"] == {"architecture": "unet", "latent_channels": 64, "dropout": 0.1}
    assert lay_over(RECIPE, {"network": {"condition": {"architecture": "autoencoder"}}})["network"]["condition"] == {
        **LAYOUT,
        "architecture": "autoencoder",
    }
    direct = {**DIRECT, "network": {"kind": "direct", "channels": [4, 8], "residual_units": 1}}
    assert lay_over(direct, {"network": {"architecture": "dynunet"}})["network"] == {
        "kind": "direct",
        "architecture": "dynunet",
    }
    assert lay_over(direct, {"network": {"norm": "batch"}})["network"]["channels"] == [4, 8]
    assert lay_over(RECIPE, {"network": {"kind": "direct"}})["network"] == {"kind": "direct"}


WRITTEN_HERE = (
    "sdseg.artifacts.manifests",
    "sdseg.artifacts.image_contract",
    "sdseg.download.notes",
)  # files that only this package writes


def settings_models() -> list[type[Strict]]:
    """Every class of what people write, in the whole package."""
    for module in pkgutil.walk_packages(sdseg.__path__, "sdseg."):
        path = Path(str(importlib.util.find_spec(module.name).origin))  # type: ignore[union-attr]
        if "(Strict)" in path.read_text("utf-8"):
            importlib.import_module(module.name)
    waiting, models = [Strict], []
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        waiting += subclasses
        models += [
            each for each in subclasses if each.__module__.startswith("sdseg.") and each.__module__ not in WRITTEN_HERE
        ]
    return models


def numbers(node: Any, where: str) -> Iterator[tuple[str, Values]]:
    """Every node of a JSON schema that stands for numbers."""
    if isinstance(node, dict):
        if node.get("type") in ("integer", "number") and "enum" not in node:  # an enumeration is its own bounds
            yield where, node
        for key, value in node.items():
            if key not in ("default", "const", "enum"):
                yield from numbers(value, f"{where}.{key}")
    for index, value in enumerate(node if isinstance(node, list) else ()):
        yield from numbers(value, f"{where}.{index}")


def test_every_number_has_finite_bounds() -> None:
    models = settings_models()
    assert {"Config", "Recipe", "Codec", "Own", "Engines", "Tolerance", "RemoteFile"} <= {
        each.__name__ for each in models
    }
    seen = 0
    for model in models:
        assert model.model_config["allow_inf_nan"] is False
        for where, node in numbers(model.model_json_schema(), model.__name__):
            least = node.get("minimum", node.get("exclusiveMinimum"))
            most = node.get("maximum", node.get("exclusiveMaximum"))
            assert least is not None, f"{where}: no lower bound"
            assert most is not None, f"{where}: no upper bound"
            assert math.isfinite(least), where
            assert math.isfinite(most), where
            seen += 1
    assert seen > 150


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1, 10**30, 1e12, True, "1e999"])
@pytest.mark.parametrize(
    ("base", "path"),
    [
        *((RECIPE, path) for path in ("optimiser.learning_rate", "training.seed", "training.batch", "training.steps")),
        *((RECIPE, path) for path in ("training.loss_limit", "inference.threshold", "diffusion.loss_noise")),
        (RECIPE, "optimiser.betas"),
    ],
)
def test_numbers_that_are_none(base: Values, path: str, value: Any) -> None:
    error = refused(lambda: parse(Recipe, put(base, path, [0.9, value] if "betas" in path else value), where="r.yaml"))
    assert path.rpartition(".")[2] in str(error)
    assert "remedy: " in str(error)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/x/{dataset}", "the path holds '{'; braces"),
        ("a<results>", "the path holds '<'"),
        ("a\nb", r"the path holds '\n'"),
        ("", "an empty path"),
        ("~/data", "'~' is not written out here; write /"),
        ("x/" + "y" * 256, "longer than the 255 bytes"),
    ],
)
@pytest.mark.parametrize("key", ["raw", "results", "manual", "registry", "splits", "datasets.kseg.raw"])
def test_paths_that_are_none(config: Values, key: str, path: str, message: str) -> None:
    error = refused(lambda: parse(Config, put(config, key, path), where="my.yaml"))
    assert message in str(error)
    assert key in str(error)


def test_names_are_short_and_plain(config: Values) -> None:
    for name in ("x" * 300, "Kvasir", "a/b", "é", ""):
        error = refused(lambda name=name: parse(Config, put(config, "datasets", {name: {"source": "kseg"}}), where="y"))
        assert "a name has lower-case letters" in str(error)
        assert len(str(error)) < 600
    assert parse(Config, put(config, "datasets", {"x" * 100: {"source": "kseg", "size": 32}}), where="my.yaml")


@pytest.mark.parametrize("load", [load_config, load_recipe, load_codec, load_dataset])
def test_file_that_is_missing(load: Callable[[Path], Any], tmp_path: Path) -> None:
    assert "the file is missing" in str(refused(lambda: load(tmp_path / "no such.yaml")))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2", "not valid YAML"),
        (b"- a\n- b\n", "expected a mapping"),
        (b"", "expected a mapping"),
    ],
    ids=["broken", "list", "empty"],
)
def test_file_that_is_no_mapping(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "é a.yaml"
    file.write_bytes(content)
    error = refused(lambda: read_yaml(file))
    assert message in str(error)
    assert str(file) in str(error)


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert "cannot read the file" in str(refused(lambda: read_yaml(tmp_path)))


def test_nothing_can_be_changed_later(config: Values) -> None:
    loaded = parse(Config, config, where="here")
    with pytest.raises(ValueError, match="frozen"):
        loaded.threads = 3  # type: ignore[misc]


def test_nearest_spelling() -> None:
    assert nearest("lerning_rate", ["learning_rate", "batch"]) == "did you mean 'learning_rate'?"
    assert nearest("zzz", ["b", "a"]) == "known here: a, b"


# Laying values over values

TREES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda children: st.dictionaries(st.sampled_from("abcde"), children, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abcde"), TREES, max_size=4)


@given(MAPPINGS, MAPPINGS)
def test_merge_changes_neither_and_is_idempotent(base: Values, over: Values) -> None:
    before = copy.deepcopy((base, over))
    merged = merge(base, over)
    assert (base, over) == before
    assert merge(merged, over) == merged
    assert merge(base, {}) == base
    assert set(merged) == set(base) | set(over)


def test_merge_goes_into_sections() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 3}, {"a": {"y": 5}}) == {"a": {"x": 1, "y": 5}, "b": 3}


# The schema others read


def test_schema_forbids_unknown_keys_everywhere() -> None:
    schema = json_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    for name, node in [("Config", schema), *schema["$defs"].items()]:
        assert node["additionalProperties"] is False, name


def test_schema_and_tree_agree(config: Values) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid(config)
    for path, value in [("devise", "cpu"), ("datasets.kseg.sise", 64), ("threads", 0), ("device", "gpu")]:
        assert not validator.is_valid(put(config, path, value)), path


def test_dataset_has_defaults() -> None:
    dataset = Dataset(source="kseg")
    assert (dataset.origin, dataset.protocol, dataset.size, dataset.recipes) == ("real", "clean", 256, None)


def test_an_unquoted_no_is_the_precision_it_looks_like() -> None:
    assert Training.model_validate(yaml.safe_load("precision: no")).precision == "no"


def test_rows_of_the_papers_ablation_add_one_thing_each(root: Path) -> None:
    names = ("ablation-cross-attention", "ablation-concatenation", "ablation-no-latent-loss", "sdseg-paper")
    rows = [load_recipe(root / "config" / "recipes" / f"{name}.yaml") for name in names]
    features = [
        (row.network.denoiser.concatenate, row.network.condition.trainable, row.diffusion.loss_latent > 0)
        for row in rows
    ]
    assert features == [(False, False, False), (True, False, False), (True, True, False), (True, True, True)]
    assert len({(row.optimiser, row.training, row.inference) for row in rows}) == 1


def test_a_recipe_on_another_one(root: Path, tmp_path: Path) -> None:
    shutil.copy(root / "config" / "recipes" / "unet.yaml", tmp_path)
    (tmp_path / "wide.yaml").write_text("base: unet.yaml\nnetwork: {channels: [8, 16, 16]}\n", encoding="utf-8")
    (tmp_path / "long.yaml").write_text("base: wide.yaml\ntraining: {steps: 7}\n", encoding="utf-8")
    made, plain = load_recipe(tmp_path / "long.yaml"), load_recipe(tmp_path / "unet.yaml")
    assert (made.network.channels, made.training.steps) == ((8, 16, 16), 7)
    assert made.optimiser == plain.optimiser


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("self.yaml", "a circle: self.yaml is based on self.yaml"),
        ("gone.yaml", "the file is missing"),
        ("[1, 2]", "'base' is \\[1, 2\\], and no file name"),
    ],
)
def test_a_base_that_is_none(base: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "self.yaml").write_text(f"base: {base}\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_recipe(tmp_path / "self.yaml")
