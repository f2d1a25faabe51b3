"""All settings of a run: types, ranges, defaults and meanings. No torch."""

import warnings
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from i2i.config.ranges import RangeRule, parse_range
from i2i.direction import Direction, Domain
from i2i.options import Count

T = TypeVar("T")
Resumable = Annotated[T, Field(json_schema_extra={"resumable": True})]  # may change on resume


def is_resumable(field: FieldInfo) -> bool:
    """Return True if a resumed run may change the setting."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and extra.get("resumable") is True


Kind = Literal["paired", "unpaired", "unconditional"]
Layout = Literal["auto", "ab", "ba", "folders"]  # of pairs; ab: left half is a
AlphaUse = Literal["drop", "composite", "keep", "carry"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
InitName = Literal["normal", "xavier", "kaiming", "orthogonal"]
NonNegativeInt = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Side = Annotated[int, Field(ge=1, le=16_384, strict=True)]
Size = Side | tuple[Side, Side]  # side of a square, or (height, width), in pixels


def height_width(size: Size) -> tuple[int, int]:
    """Return a `Size` as (height, width)."""
    return (size, size) if isinstance(size, int) else size


# of models made at run time, for whose source pydantic would search all modules, 0.07 s each
WITHOUT_SOURCE = {"use_attribute_docstrings": False}


class Section(BaseModel):
    """A frozen group of settings without unknown keys."""

    # the text below each field is its description in `i2i show`, docs/settings.md and the schema
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        ser_json_inf_nan="constants",
        use_attribute_docstrings=True,
        defer_build=True,  # translating needs one of a dozen validators, building them takes 0.1 s
    )


class _Settings(Section):
    """Settings that people write."""

    @field_validator("*", mode="before")
    @classmethod
    def _check_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse true and false as 1 and 0."""
        field = cls.model_fields[info.field_name or ""]
        items = value if isinstance(value, list | tuple) else [value]
        if any(isinstance(item, bool) for item in items) and "bool" not in str(field.annotation):
            raise PydanticCustomError("bool", "must not be true or false")
        return value


class Component(_Settings):
    """A network or method: the name of its file, and options derived from its constructor."""

    name: str

    def options(self) -> dict[str, Any]:
        """Return every setting but the name."""
        return {key: value for key, value in self if key != "name"}


class DataConfig(_Settings):
    """Images on disk, and their preparation for training."""

    domains: ClassVar[tuple[str, ...]] = ("a", "b")

    root: Resumable[str]
    """folder of the data set"""
    load_size: Resumable[Size] = 286
    """size before the crop, in pixels: side of a square, or [height, width]"""
    crop_size: Resumable[Size] = 256
    """size of the random crop that the networks see, in pixels"""
    resize: Literal["stretch", "shorter", "none"] = "stretch"
    """resizing to load_size; stretch: both sides; shorter: the shorter side, keeping the aspect
    ratio; none: no resizing"""
    flip: Resumable[bool] = True
    """mirror half of the samples"""
    rotate_degrees: Resumable[Annotated[float, Field(ge=0, le=180)]] = 0.0
    """largest rotation in either direction, in degrees"""
    elastic_pixels: Resumable[NonNegative] = 0.0
    """largest displacement of an elastic deformation, in pixels"""
    color_jitter: Resumable[Fraction] = 0.0
    """jitter of brightness, contrast and saturation; of a pair only the input changes"""
    alpha: AlphaUse = "drop"
    """use of an alpha channel; composite: over white; keep: as an input channel; carry: dropped
    in training, copied to the output when translating"""
    value_range: dict[str, tuple[Finite, Finite] | str] = {}
    """range [low, high] of the floats in the files of a domain, or, without any, of its deepest
    integers, in their own numbers; or percentile(0.5, 99.5) of the training images; or a window in
    HU: lung, mediastinum, soft_tissue, liver, brain, bone, window(level, width); for domains not
    named, [0, 1] and all that integers hold"""
    outside_range: Literal["fail", "clip"] | None = None
    """values outside of a value_range; fail: an error; clip: set to its nearest end; null: clip
    where it is of percentiles or a window, fail where it is two numbers"""
    slice_axis: Literal["acquisition", "sagittal", "coronal", "axial"] = "acquisition"
    """axis of volumes (NIfTI, DICOM) whose slices are the images; acquisition: the third axis of
    NIfTI, the normal of a DICOM series"""
    workers: Resumable[Annotated[int, Field(ge=0, le=1024)]] = 2
    """processes that decode images; 0: decode in the training process"""
    cache: Resumable[Literal["auto", "off", "ram", "disk"]] = "auto"
    """place of images once they are decoded and resized, a quarter of what is free there at most;
    ram: memory; disk: ~/.cache/i2i, for later runs, too; auto: ram, or disk where all fit only
    there; off: decoded again each time"""
    on_bad_file: Resumable[Literal["fail", "skip"]] = "fail"
    """reaction to an image that cannot be read; fail: stop; skip: train without it"""
    decode_check_limit: NonNegativeInt = 5_000
    """domains of at most this many images are decoded in full before training"""
    max_images: Count | None = None
    """largest number of images used, a random sample over all subfolders; null: all"""
    max_pixels: Resumable[Count] = 100_000_000
    """largest number of pixels of an image file; larger ones are refused, but with resize=none,
    crops of .npy and TIFF files of any size are read"""
    epoch_images: Count | None = None
    """samples of one epoch, random crops of the files in turn, which may be few; null: each once"""

    @property
    def labels(self) -> frozenset[str]:
        """Domains whose values are labels."""
        return frozenset()

    def range_rule(self, domain: str) -> RangeRule:
        """Return the rule of the values of a domain."""
        rule = parse_range(self.value_range.get(domain, (0.0, 1.0)))
        return rule._replace(clips=(self.outside_range or ("clip" if rule.clips else "")) == "clip")


class TwoDomainsData(DataConfig):
    """Images of two domains on disk, and their preparation for training."""

    inputs: tuple[str, ...] = ()
    """folders of a: one, or for pairs several whose images are stacked as channels in this order;
    ROOT/SPLIT/NAME, ROOT/NAME/SPLIT, ROOT/NAME, or a path; []: recognized by its name; masks and
    value_range of a hold for each"""
    target: str | None = None
    """folder of b with inputs; null: without inputs"""


class PairedData(TwoDomainsData):
    """Pairs of images on disk, and their preparation for training."""

    layout: Layout = "auto"
    """arrangement of pairs; auto: recognized from the folder; ab: one file, left half a, right half
    b; ba: the reverse; folders: two folders, matched by stem"""
    direction: Direction = Direction.A2B
    """direction of translation"""
    allow_unmatched: bool = False
    """leave out files without a partner instead of refusing them"""
    masks: tuple[Domain, ...] = ()
    """domains whose values are labels; they are resampled to the nearest pixel"""
    classes: dict[Domain, Annotated[int, Field(ge=2, le=65_536)]] = {}
    """number N of classes of a domain whose files hold class numbers 0 to N-1, in 8 or 16 bits of
    gray: labels, of which the networks see a channel for each class (1 in its own, -1 elsewhere)"""
    class_edges: bool = False
    """one channel more of an input of classes: 1 where a pixel's class differs from that of one of
    its four neighbors, -1 elsewhere"""
    pair_pattern: tuple[str, ...] = ()
    """names of partners without suffix, a pattern for each folder, such as ["{id}_A", "{id}_B"];
    {id} is any text, {number} a number that leading zeros do not change; []: equal names"""
    neighbors: Annotated[int, Field(ge=0, le=7)] = 0
    """slices of the same volume on each side of a slice of the input, stacked as channels (2.5D)"""
    pairs: str | None = None
    """CSV file of pairs, in root or a path: columns of paths below root, inputs before the target;
    null: matched by name"""

    @property
    def labels(self) -> frozenset[str]:
        """Domains whose values are labels."""
        return frozenset((*self.masks, *self.classes))


class UnpairedData(TwoDomainsData):
    """Two unpaired folders of images, and their preparation for training."""

    direction: Direction = Direction.A2B
    """direction of translation; CycleGAN learns both, and `i2i translate` takes this by default"""


class UnconditionalData(DataConfig):
    """One folder of images, and their preparation for training."""

    domains: ClassVar[tuple[str, ...]] = ("image",)


DATA: dict[Kind, type[DataConfig]] = {
    "paired": PairedData,
    "unpaired": UnpairedData,
    "unconditional": UnconditionalData,
}


class OptimConfig(_Settings):
    """Adam for every network, and its schedule."""

    lr: Resumable[Positive] = 2e-4
    """learning rate"""
    lr_discriminator: Resumable[Positive | None] = None
    """learning rate of discriminators; null: lr"""
    betas: Resumable[tuple[Beta, Beta]] = (0.5, 0.999)
    """decay rates of Adam's estimates of the first and second moment"""
    lr_decay_start: Resumable[Fraction] = 0.5
    """fraction of training after which learning rates fall linearly, ending above 0; 1: never"""
    clip: Resumable[Positive | None] = None
    """largest gradient norm of a phase; null: no clipping"""


class TrainConfig(_Settings):
    """Length, batches, precision and checkpoints. Lengths and intervals count images."""

    total_images: Resumable[Count | None] = None
    """length of training, in images; null: epochs sets it"""
    epochs: Resumable[Annotated[float, Field(gt=0, le=1e9)] | None] = 200.0
    """length of training, in passes over the data, saved as total_images; null: see there"""
    max_minutes: Resumable[Positive | None] = None
    """time after which training saves and stops, in minutes; null: no limit"""
    batch: Resumable[Count] = 1
    """batch size of one process, in images (pairs with paired data)"""
    accumulate: Resumable[Count] = 1
    """batches whose gradients are accumulated into one update"""
    seed: NonNegativeInt = 0
    """random seed"""
    precision: Resumable[Precision] = "auto"
    """number format of the networks; auto: the fastest of this machine, with the fastest order of
    memory, by a test of two seconds where a run is long enough, and kept when the run is resumed;
    fp32: exactly as every other program"""
    checkpoint_every_images: Resumable[Count] = 5_000
    """interval of checkpoints, in images"""
    keep_checkpoints: Resumable[Count] = 3
    """newest checkpoints kept on disk; older ones are removed"""
    save_retry_seconds: Resumable[NonNegative] = 60.0
    """seconds for which writing the last state is tried again, where the disk is full"""
    on_nonfinite: Resumable[Literal["stop", "rollback"]] = "stop"
    """reaction to a loss or gradient that is not finite; stop: exit status 3; rollback: restore the
    newest checkpoint and skip the batch"""
    ema_halflife_images: Positive | None = None
    """half-life of the moving average (EMA) of the generators, in images; null: no average"""
    init: InitName = "normal"
    """distribution of the initial weights; r3gan networks draw their own"""
    init_gain: Positive | None = None
    """scale of the initial weights: standard deviation (normal) or factor (xavier, orthogonal);
    null: 0.02 with normal and xavier, 1 with orthogonal, none with kaiming"""
    init_discriminator: InitName | None = None
    """distribution of the initial weights of discriminators; null: init"""
    init_gain_discriminator: Positive | None = None
    """scale of the initial weights of discriminators; null: init_gain where their distribution is
    init, else by it as there"""
    init_from: str | None = None
    """trained model to start from: a run (or RUN@best), a checkpoint, or a weights file, imported
    too;
    the generator is its generator; null: random weights"""
    freeze: tuple[str, ...] = ()
    """parts whose weights stay as they are: names of networks or of parts of them, such as D or
    G.downs"""
    compile: Resumable[bool] = False
    """compile the forward pass of all networks except a discriminator with a gradient penalty"""
    activation_checkpointing: Resumable[bool] = False
    """keep only the inputs of the generators' layers for the backward pass and compute the rest
    again there: less memory, more time, same gradients"""
    cuda_graphs: Resumable[bool] = False
    """capture the forward and backward passes of each kind of step as CUDA graphs and replay those;
    what cannot be captured is computed as without it, and the run says why; CUDA only"""
    deterministic: Resumable[bool] = False
    """refuse kernels whose results may differ between runs"""


class LogConfig(_Settings):
    """Metrics and sample sheets written during training."""

    every_images: Resumable[Count] = 100
    """interval of metrics, in images"""
    sample_every_images: Resumable[Count] = 1_000
    """interval of sample sheets, in images"""
    samples: Resumable[Annotated[int, Field(ge=1, le=1000, strict=True)]] = 8
    """fixed inputs on a sample sheet"""
    tensorboard: Resumable[bool] = True
    """write TensorBoard files"""
    trackers: Resumable[tuple[str, ...]] = ()
    """other programs that metrics and sample sheets are sent to, by name, once they are installed:
    wandb (offline, unless the environment sets WANDB_MODE), mlflow (below RUN, unless it sets
    MLFLOW_TRACKING_URI)"""


class ValidateConfig(_Settings):
    """Scores during training on images that it does not see; the best weights; early stop."""

    every_images: Resumable[Count | None] = None
    """interval of validations, in images; null: none"""
    metrics: Resumable[tuple[str, ...] | None] = None
    """scores; null: psnr, ssim and l1 of pairs, pixel_accuracy and miou of class maps, else
    kid_effnet where its extra is installed, and swd"""
    metric: Resumable[str | None] = None
    """the one of metrics that chooses the best weights and stops early, a mean over directions;
    null: ssim of pairs, miou of class maps, else the first of metrics"""
    images: Resumable[Annotated[int, Field(ge=2, le=10_000, strict=True)]] = 64
    """largest number of images (pairs with paired data), spread evenly over those held out"""
    share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """share of the training images that is held out, the same for every seed; without effect where
    the data has a folder val"""
    patience: Resumable[Count | None] = None
    """validations without an improvement after which training ends; null: no early stop"""


# the name of a section; pydantic has a deprecated method of that name, which nothing here calls
warnings.filterwarnings("ignore", 'Field name "validate" in "Config" shadows', UserWarning)


class Config(_Settings):
    """All settings of a run."""

    version: Literal[3] = 3
    """version of the settings"""
    method: Component
    data: DataConfig
    generator: Component
    discriminator: Component
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    log: LogConfig = LogConfig()
    validate: ValidateConfig = ValidateConfig()  # type: ignore[assignment]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `validate` accepts again."""
        return self.model_dump(mode="json", serialize_as_any=True)

    def to_yaml(self) -> str:
        """Return the settings as YAML text."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100)
