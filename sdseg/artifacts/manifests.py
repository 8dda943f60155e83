"""What every artifact says about itself, as typed records: stores, codecs, models, graphs, engines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sdseg.artifacts.image_contract import ImageContract, StrictRecord, Structures
from sdseg.config.codec import Codec
from sdseg.config.export import EngineOptions
from sdseg.config.inference import Flips, Postprocessing
from sdseg.config.patches import SlidingWindow
from sdseg.core.bounded_types import Checksum, Count, Probability, Range
from sdseg.core.files import FORMAT, sha256_text
from sdseg.core.settings import Strict, merge

__all__ = [
    "CodecManifest",
    "EngineMachine",
    "EngineManifest",
    "EnsembleMember",
    "GraphManifest",
    "GraphPort",
    "ModelManifest",
    "PostprocessingChoice",
    "PreparedManifest",
    "model_checksum",
]

THRESHOLD = 0.5  # of recipes that do not tell


class PreparedManifest(StrictRecord):
    """`prepared/manifest.json`: what the slice store beside it holds."""

    format: int = FORMAT
    dataset: str
    source: str
    origin: str  # "real", "sample" or "phantom": a phantom figure is never shown as a dataset's
    protocol: str
    target: str
    image: ImageContract
    structures: Structures
    exclusive: bool = False  # whether structures exclude each other in a pixel: sdseg/data/mask_rule.py
    labels: dict[int, str]  # every label id the dataset declares, with its name
    chosen: dict[str, str] = Field(default_factory=dict, exclude_if=lambda choices: not choices)  # of size …, and why
    # Who drew masks, where each case has several; the store's own masks are then those of the majority.
    annotators: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    n_cases: dict[str, Count]  # per split
    n_slices: dict[str, Count]  # per split
    checksums: dict[str, str]  # file name -> SHA-256
    data_checksum: str  # SHA-256 over all of the above checksums: names this very preparation
    fast_checksums: dict[str, str] = Field(default_factory=dict)  # array file -> CRC-32; none in earlier versions
    provenance: dict[str, Any]


class PostprocessingChoice(StrictRecord):
    """How `postprocessing: auto` was settled."""

    split: str
    n_cases: int
    dice: dict[str, float]  # combination -> mean Dice over the cases, at the working size


class EnsembleMember(StrictRecord):
    """One of the models that an ensemble is the mean of: what is needed to rebuild its networks."""

    recipe_name: str
    recipe: dict[str, Any]
    codec: dict[str, Any] | None
    latent_scale: float | None = Field(gt=0)
    checksum: str  # names the model it was made from
    training: dict[str, Any]


class ModelManifest(StrictRecord):
    """`model/config.json`: everything needed to rebuild the network and to feed it."""

    format: int = FORMAT
    kind: str = "sdseg-model"
    dataset: str
    origin: str
    protocol: str
    recipe_name: str
    recipe: dict[str, Any]  # the resolved recipe, as in config.Recipe
    codec: dict[str, Any] | None  # the codec's architecture; None for direct methods
    latent_scale: float | None = Field(gt=0)
    image: ImageContract
    structures: Structures
    exclusive: bool = False  # whether structures exclude each other: the likelier one has the pixel
    postprocessing: Postprocessing = Postprocessing()  # of its masks: what the recipe says, or what was chosen
    postprocessing_chosen: PostprocessingChoice | None = None  # None: the recipe said what, or nothing to choose by
    # The probability is the mean over these; `recipe` and `codec` are then the first one's. None: one model.
    members: tuple[EnsembleMember, ...] = ()
    training: dict[str, Any]  # step, validation Dice, seconds, data checksum, codec ceiling
    files: dict[str, str]  # weight file -> SHA-256
    provenance: dict[str, Any]

    @property
    def threshold(self) -> float:
        """The probability above which a pixel belongs to a structure: the recipe's."""
        threshold: float = self.recipe.get("inference", {}).get("threshold", THRESHOLD)
        return threshold

    @model_validator(mode="before")
    @classmethod
    def _threshold_in_the_recipe(cls, data: Any) -> Any:
        """Earlier versions wrote the threshold beside the recipe, too; what stands there is what they used."""
        if not (isinstance(data, dict) and "threshold" in data and isinstance(data.get("recipe"), dict)):
            return data
        rest = {key: value for key, value in data.items() if key != "threshold"}
        return rest | {"recipe": merge(data["recipe"], {"inference": {"threshold": data["threshold"]}})}

    @model_validator(mode="after")
    def _threshold_is_a_probability(self) -> Self:
        value: object = self.threshold
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(f"'inference.threshold' of its recipe should be from 0 to 1 (it is {value!r})")
        return self


class GraphPort(StrictRecord):
    """One input or output of an exported graph."""

    name: str
    dtype: str
    axes: tuple[str | Annotated[int, Field(ge=1)], ...]  # a word names a dynamic axis
    range: Range | None  # smallest and largest meaningful value; None for noise


class GraphManifest(StrictRecord):
    """`export/io.json`, also carried inside the ONNX file as the metadata value `sdseg`.

    What defaults to None is unknown for graphs of earlier versions.
    """

    format: int = FORMAT
    kind: str = "sdseg-graph"
    version: str | None = None  # of this package
    precision: str = "fp32"  # in which the networks compute; inputs and outputs keep their types
    # Of 8-bit integers: sums of two products fit into 16 bits, where processors without VNNI make them.
    sums_fit_16_bits: bool = Field(False, exclude_if=lambda fit: not fit)
    dataset: str
    origin: str
    recipe: str
    inputs: tuple[GraphPort, ...]
    outputs: tuple[GraphPort, ...]
    image: ImageContract
    structures: Structures
    threshold: Probability
    exclusive: bool = False  # true: of structures above the threshold the likeliest has the pixel; false: they overlap
    postprocessing: Postprocessing = (
        Postprocessing()
    )  # of masks made from `probability`, which is as the networks gave it
    flips: Flips = "none"  # that the graph does itself, of an ensemble its first member: probability is the mean
    # Of a three-dimensional model: its ports are those of patches, and whoever runs it puts volumes together by these.
    dimensions: Literal[2, 3] = Field(2, exclude_if=lambda count: count == 2)
    sliding_window: SlidingWindow | None = Field(None, exclude_if=lambda window: window is None)
    opset: int = Field(ge=1)
    protocol: str | None = None
    labels: dict[int, str] | None = None  # every label id the dataset declares, with its name
    interpolation: str | None = None  # how images were brought to the working size: data/transforms.py `resize_images`
    data_checksum: str | None = None  # of the prepared data it was trained on
    model_checksum: str | None = None  # of the weights it was made from
    # Checked whenever the file is opened: backends/graph_checksum.py.
    content_sha256: Checksum | None = None  # of the ONNX file without these 64 digits
    weights_sha256: Checksum | None = None  # of the '.data' file beside it; None where the weights are in the graph
    provenance: dict[str, Any]


class CodecManifest(BaseModel):
    """`codec/config.json`: a mask autoencoder, its latent scale, and how well it reproduces masks.

    What is None by default is of a codec that serves every dataset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    format: int = 1
    kind: str = "sdseg-codec"
    settings: Codec
    latent_scale: float
    # Mean Dice of decode(encode(mask)) on shapes, or masks of `split`, it was not trained on; None of a codec of
    # images, which has the mean absolute error in its place, of values that go from 0 to 1.
    dice: float | None
    image_error: float | None = None
    dataset: str | None = None  # whose masks it was trained on
    split: str | None = None  # of them, on which `dice` was measured: train where none was left aside
    structures: Structures | None = None  # of its label maps
    data_checksum: str | None = None
    files: dict[str, str]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class EngineMachine:
    """What an engine is bound to."""

    tensorrt: str  # version
    gpu: str  # name, as CUDA gives it
    compute_capability: str  # "9.0"


class EngineManifest(Strict):
    """`model.<precision>.engine.json`."""

    format: int = 1
    kind: str = "sdseg-engine"
    engine_checksum: str  # SHA-256 of the engine file
    tensorrt: str
    gpu: str
    compute_capability: str
    precision: str
    options: EngineOptions  # how it was built
    graph_file: str  # name of the ONNX file it was built from
    graph_checksum: str
    graph: GraphManifest  # what that file says about itself
    layers: dict[str, int]  # type of a layer's first output -> number of layers
    seconds: float  # of the build
    parity: dict[str, Any] | None  # as in parity.json
    provenance: dict[str, Any]

    @property
    def machine(self) -> EngineMachine:
        return EngineMachine(self.tensorrt, self.gpu, self.compute_capability)


def model_checksum(manifest: ModelManifest) -> str:
    """SHA-256 over the checksums of a model folder's weights: names this very model."""
    return sha256_text("\n".join(f"{name} {value}" for name, value in sorted(manifest.files.items())))
