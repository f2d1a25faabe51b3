"""Typed configuration: defaults < recipe or file < `--set`; every error at once, each with its mend. No torch."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from i2i.direction import Direction, Domain
from i2i.errors import I2IError

Kind = Literal["paired", "unpaired", "unconditional"]
AlphaUse = Literal["drop", "composite", "keep", "carry"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Layout = Literal["auto", "ab", "ba", "folders"]  # of pairs; ab: left half is a
Positive = Annotated[int, Field(ge=1)]
Size = Positive | tuple[Positive, Positive]  # one side of a square, or (height, width), in pixels
Fraction = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


_MOST, _DEEPEST = 10_000, 30  # values in one layer, and levels of them


class ConfigError(I2IError, ValueError):
    """Settings that cannot be used; the message has one line for each."""


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Component(BaseModel):
    """A network or a method: the name of its file, and its options. `load` narrows the options to its signature."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    def options(self) -> dict[str, Any]:
        """Return every setting but the name."""
        return {key: value for key, value in self if key != "name"}


class DataConfig(Section):
    """What is read from disk, and how it is prepared for training."""

    domains: ClassVar[tuple[str, ...]] = ("a", "b")

    root: str  # folder of the data set
    load_size: Size = 286  # pixels, before the crop
    crop_size: Size = 256  # pixels that the networks see
    resize: Literal["stretch", "shorter", "none"] = (
        "stretch"  # to load_size; shorter: keeps the aspect ratio
    )
    flip: bool = True  # mirror half of the samples
    rotate_degrees: Annotated[float, Field(ge=0, le=180)] = (
        0.0  # largest angle, degrees, either way
    )
    elastic_pixels: Annotated[float, Field(ge=0)] = (
        0.0  # largest displacement of an elastic deformation, pixels
    )
    color_jitter: Fraction = (
        0.0  # jitter of brightness, contrast, saturation; of a pair only the input
    )
    alpha: AlphaUse = (
        "drop"  # composite: over white; keep: a channel; carry: dropped, put back when translating
    )
    value_range: dict[
        str, tuple[Finite, Finite]
    ] = {}  # domain -> [low, high] of the floats in its files; else [0, 1]
    workers: Annotated[int, Field(ge=0)] = 2  # processes that decode
    on_bad_file: Literal["fail", "skip"] = "fail"
    decode_check_limit: Annotated[int, Field(ge=0)] = (
        5_000  # decode all files before training where a domain has no more than this
    )
    max_images: Positive | None = None  # None: all

    @model_validator(mode="after")
    def _crop_fits(self) -> Self:
        (height, width), (crop_height, crop_width) = (
            height_width(self.load_size),
            height_width(self.crop_size),
        )
        if self.resize == "stretch" and (crop_height > height or crop_width > width):
            raise ValueError(
                f"crop_size {crop_height}x{crop_width} is larger than load_size {height}x{width}"
            )
        return self

    @model_validator(mode="after")
    def _value_ranges_fit(self) -> Self:
        for domain, (low, high) in self.value_range.items():
            if domain not in self.domains:
                raise ValueError(
                    f"value_range: there is no domain {domain} here (there is {' and '.join(self.domains)})"
                )
            if not low < high:
                raise ValueError(
                    f"value_range.{domain}: [{low:g}, {high:g}] must be [low, high], low below high"
                )
        return self


class PairedData(DataConfig):
    """Pairs: side by side in one file, in two folders matched by stem, or one target for several inputs."""

    layout: Layout = "auto"  # ab: left half is a, right half is b
    direction: Direction = Direction.A2B
    allow_unmatched: bool = False  # True: leave files without a partner out
    masks: tuple[
        Domain, ...
    ] = ()  # domains whose values are labels: resampled to the nearest pixel
    # Folders whose images are stacked as channels to make a, in this order; masks and ranges of a
    # are those of each.
    inputs: tuple[
        str, ...
    ] = ()  # ROOT/SPLIT/NAME, ROOT/NAME for train, or a path; (): two folders or side by side
    target: str | None = None  # the folder of b; None: without inputs

    @model_validator(mode="after")
    def _inputs_have_a_target(self) -> Self:
        if bool(self.inputs) != (self.target is not None):
            raise ValueError(
                "inputs, target: one needs the other. Pass --input for each input, and --target"
            )
        if not self.inputs:
            return self
        if self.layout != "auto":
            raise ValueError(
                f"layout: {self.layout} contradicts inputs and target, which name the folders"
            )
        if self.direction != "a2b":
            raise ValueError(
                "direction: inputs are made into the target, so it is a2b; name them the other way round"
            )
        if self.alpha == "carry" and len(self.inputs) > 1:
            raise ValueError(
                "alpha: carry puts the alpha of one input back, and there are several; choose drop"
            )
        return self


class UnpairedData(DataConfig):
    """Two folders of images without pairs."""

    direction: Direction = Direction.A2B


class UnconditionalData(DataConfig):
    """One folder of images."""

    domains: ClassVar[tuple[str, ...]] = ("image",)

    @model_validator(mode="after")
    def _nothing_is_carried(self) -> Self:
        if self.alpha == "carry":
            raise ValueError(
                "alpha: carry has no effect: images that are made from noise have no alpha to put back"
            )
        return self


DATA: dict[Kind, type[DataConfig]] = {
    "paired": PairedData,
    "unpaired": UnpairedData,
    "unconditional": UnconditionalData,
}


class OptimConfig(Section):
    """Adam for every network, and its schedule."""

    lr: Annotated[float, Field(gt=0)] = 2e-4
    lr_discriminator: Annotated[float, Field(gt=0)] | None = None  # None: the same as lr
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (
        0.5,
        0.999,
    )
    lr_decay_start: Fraction = (
        0.5  # share of training after which lr falls linearly, ending above 0; 1: never
    )
    clip: Annotated[float, Field(gt=0)] | None = (
        None  # largest gradient norm of a phase; None: no clipping
    )


class TrainConfig(Section):
    """Length, batches, precision, and what is kept. Lengths and intervals count images."""

    total_images: Positive | None = None  # total; None: epochs decide
    epochs: Annotated[float, Field(gt=0, le=1e9)] | None = (
        200.0  # translated to images when the data is known
    )
    max_minutes: Annotated[float, Field(gt=0)] | None = (
        None  # stop and save after this time; None: no limit
    )
    batch: Positive = 1  # of one process
    accumulate: Positive = 1  # batches that make one update
    seed: Annotated[int, Field(ge=0)] = 0
    precision: Precision = "auto"  # auto: bf16 on GPUs that have it, fp32 elsewhere
    checkpoint_every_images: Positive = 5_000
    keep_checkpoints: Positive = 3  # newest checkpoints kept on disk
    # when a loss or gradient is not finite: stop with exit status 3, or go back to the newest
    # checkpoint and pass over the batch that broke the step
    on_nonfinite: Literal["stop", "rollback"] = "stop"
    ema_halflife_images: Annotated[float, Field(gt=0)] | None = (
        None  # half-life of the generators' moving average; None: off
    )
    init: Literal["normal", "xavier", "kaiming", "orthogonal"] = "normal"
    init_gain: Annotated[float, Field(gt=0)] = 0.02
    compile: bool = False  # torch.compile for the forward pass of every network but a penalized D
    deterministic: bool = False  # True: refuse kernels whose result may differ from run to run


class LogConfig(Section):
    """What is written while training."""

    every_images: Positive = 100  # interval of the scalars
    sample_every_images: Positive = 1_000  # interval of the sample sheets
    samples: Positive = 8  # fixed inputs of the sample sheet
    tensorboard: bool = True


class Config(Section):
    """All settings of a run."""

    version: Literal[2] = 2
    method: Component
    data: DataConfig
    generator: Component
    discriminator: Component
    optim: OptimConfig = OptimConfig()
    train: TrainConfig = TrainConfig()
    log: LogConfig = LogConfig()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `load` accepts again."""
        return self.model_dump(mode="json", serialize_as_any=True)

    def to_yaml(self) -> str:
        """Return the settings as YAML text."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100)


RENAMED = {  # settings of version 1 -> settings of today
    "data.color": "data.color_jitter",
    "data.elastic": "data.elastic_pixels",
    "data.ranges": "data.value_range",
    "data.rotate": "data.rotate_degrees",
    "data.verify": "data.decode_check_limit",
    "log.images": "log.every_images",
    "method.identity": "method.lambda_identity",
    "method.law": "method.latent_distribution",
    "optim.decay_from": "optim.lr_decay_start",
    "train.checkpoint_images": "train.checkpoint_every_images",
    "train.ema_images": "train.ema_halflife_images",
    "train.guard": "train.on_nonfinite",
    "train.images": "train.total_images",
    "train.keep": "train.keep_checkpoints",
    "train.minutes": "train.max_minutes",
    "train.sample_images": "log.sample_every_images",
}


class Layer(NamedTuple):
    """Settings from one source; later layers win."""

    source: str  # shown in messages: a file, "--set", "defaults"
    values: dict[str, Any]
    renamed: tuple[str, ...] = ()  # keys of version 1 that were translated


def migrate(layer: Layer) -> Layer:
    """Return `layer` with the keys of today.

    Raises:
        ConfigError: a setting is given under its old and its new name.
    """
    values = {
        section: dict(part) if isinstance(part, dict) else part
        for section, part in layer.values.items()
    }
    renamed = []
    for old, new in RENAMED.items():
        (section, key), (new_section, new_key) = old.split("."), new.split(".")
        part = values.get(section)
        if not isinstance(part, dict) or key not in part:
            continue
        target = values.setdefault(new_section, {})
        if not isinstance(target, dict) or new_key in target:
            raise ConfigError(
                f"{layer.source}: {old} is now {new}, and both are given. Leave {old} out."
            )
        target[new_key] = part.pop(key)
        renamed.append(old)
    if values.get("version") == 1:
        values["version"] = 2
    return Layer(layer.source, values, tuple(renamed))


class Schema(NamedTuple):
    """The types of the sections that depend on the chosen method and networks."""

    data: type[DataConfig]
    method: type[Component]
    generator: type[Component]
    discriminator: type[Component]


def component_schema(
    name: str, factories: Sequence[Callable[..., Any]], preset: Mapping[str, Any]
) -> type[Component]:
    """Derive a model from the keyword-only parameters of `factories`: what the code accepts is what the config has."""
    fields: dict[str, Any] = {"name": (Literal[name], name)}
    for factory in factories:
        function = factory.__init__ if inspect.isclass(factory) else factory
        hints = get_type_hints(function)
        for key, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                fields[key] = (hints[key], preset.get(key, parameter.default))
    config = ConfigDict(extra="forbid", frozen=True)
    model: type[Component] = create_model(name, __base__=Component, **fields)
    model.model_config |= config
    model.model_rebuild(force=True)
    return model


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """Merge nested mappings, later ones first; lists and scalars are replaced whole."""
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge_into(merged, layer.values)
    return merged


def _merge_into(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(target.get(key), dict):
            if value is None:  # `train:` with nothing below it says nothing
                continue
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{key}: must hold settings, such as {key}: {{...}}, not {value!r}"
                )
            _merge_into(target[key], value)
        else:
            target[key] = _plain_copy(value)


def _plain_copy(value: Any) -> Any:
    return (
        {key: _plain_copy(item) for key, item in value.items()}
        if isinstance(value, Mapping)
        else value
    )


def load(layers: Sequence[Layer], schema: Schema) -> Config:
    """Merge `layers` and check them against `schema`.

    Raises:
        ConfigError: all settings that are unknown, out of range or of the wrong type, one a line.
    """
    model = create_model(
        "Config",
        __base__=Config,
        data=(schema.data, ...),
        method=(schema.method, ...),
        generator=(schema.generator, ...),
        discriminator=(schema.discriminator, ...),
    )
    try:
        return model.model_validate(merge(layers))
    except ValidationError as error:
        known = list(_keys(model))
        raise ConfigError("\n".join(_lines(error, known, layers))) from None


def read_yaml(path: Path) -> Layer:
    """Read a config file.

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping of sections.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(
            f"{path}: must hold sections such as `train:`, has {type(values).__name__}"
        )
    return _bounded(Layer(str(path), values))


def parse_override(text: str) -> Layer:
    """Schedule `a.b=v` into a layer; `v` is JSON where it parses (1e-4, true, [0, 0.9], null) and plain text elsewhere.

    Raises:
        ConfigError: no `=`, or an empty key.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"--set {text}: write it as section.key=value, such as optim.lr=1e-4")
    try:
        parsed: Any = json.loads(value)
    except (ValueError, RecursionError):
        parsed = value
    for part in reversed(parts):
        parsed = {part: parsed}
    return _bounded(Layer("--set", parsed))


def _bounded(layer: Layer) -> Layer:
    """Refuse a layer that would never end: a YAML alias can hold itself, or a value a billion times."""
    pending: list[tuple[Any, int]] = [(layer.values, 0)]
    for _ in range(_MOST):
        value, depth = pending.pop()
        inner = (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        )
        if inner and depth == _DEEPEST:
            break
        pending.extend((item, depth + 1) for item in inner)
        if not pending:
            return migrate(layer)
    raise ConfigError(
        f"{layer.source}: holds more than {_MOST} values, or nests more than {_DEEPEST} (shorten it)"
    )


def height_width(size: Size) -> tuple[int, int]:
    """Return a `Size` as (height, width)."""
    return (size, size) if isinstance(size, int) else size


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _lines(error: ValidationError, known: list[str], layers: Sequence[Layer]) -> list[str]:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"][:2])
        got = f" (got {item['input']!r}{_origin(item['loc'], layers)})"
        if item["type"] == "extra_forbidden":
            lines.append(
                f"{key}: unknown setting{_origin(item['loc'], layers)}{_suggestion(key, known)}"
            )
        elif item["type"] == "missing":
            mend = " Pass --data FOLDER." if key == "data.root" else ""
            lines.append(f"{key}: is needed.{mend}")
        else:
            lines.append(f"{key}: {item['msg']}{got}")
    return list(dict.fromkeys(lines))  # a union reports each of its members


def _suggestion(key: str, known: list[str]) -> str:
    if "." not in key:
        known = list(dict.fromkeys(name.split(".")[0] for name in known))
    close = get_close_matches(key, known, 1, 0.6)
    if not close:
        leaves = {name.rsplit(".", 1)[-1]: name for name in known}
        close = [leaves[leaf] for leaf in get_close_matches(key.rsplit(".", 1)[-1], leaves, 1, 0.6)]
    return f". Did you mean {close[0]}?" if close else ""


def _origin(location: Sequence[str | int], layers: Sequence[Layer]) -> str:
    for layer in reversed(layers):
        values: Any = layer.values
        for part in location[:2]:
            values = values.get(part) if isinstance(values, Mapping) else None
        if values is not None and layer.source not in ("--set", "defaults"):
            return f" in {layer.source}"
        if values is not None:
            return ""
    return ""
