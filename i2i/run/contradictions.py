"""Settings that contradict each other, or the networks, are refused here.

Options of one component that contradict each other are refused in its constructor.
"""

from collections.abc import Iterator
from typing import Any

from i2i.config import (
    Config,
    ConfigError,
    DataConfig,
    Kind,
    Layer,
    PairedData,
    TrainConfig,
    TwoDomainsData,
    UnconditionalData,
    ValidateConfig,
    height_width,
    parse_range,
)
from i2i.evaluation.features import available
from i2i.evaluation.metric import METRICS
from i2i.evaluation.paired import MS_SSIM_SIDE, WINDOW
from i2i.evaluation.scoring import OF_CLASSES
from i2i.images import spectrum
from i2i.methods._base import Method
from i2i.networks.contract import Discriminator, Generator
from i2i.networks.init import GAINS

_LENGTHS = "train.total_images, train.epochs"
_OF_DISCRIMINATORS = (
    ("optim", "lr_discriminator"),
    ("train", "init_discriminator"),
    ("train", "init_gain_discriminator"),
)


def check_data(data: DataConfig) -> DataConfig:
    """Return `data`.

    Raises:
        ConfigError: all contradictions within it.
    """
    if errors := list(_data_errors(data)):
        raise ConfigError.combine(errors)
    return data


def _data_errors(data: DataConfig) -> Iterator[ConfigError]:
    (height, width), (crop_height, crop_width) = map(height_width, (data.load_size, data.crop_size))
    if data.resize == "stretch" and (crop_height > height or crop_width > width):
        reason = f"{crop_height}x{crop_width} is larger than load_size {height}x{width}"
        yield ConfigError("data.crop_size", reason, "Choose a smaller crop or a larger load_size")
    same_size = (height, width) == (crop_height, crop_width)
    if data.epoch_images and data.resize == "stretch" and same_size:
        reason = "counts random crops, and load_size equals crop_size"
        yield ConfigError("data.epoch_images", reason, "Raise load_size, or set data.resize=none")
    yield from _range_errors(data)
    if isinstance(data, UnconditionalData) and data.alpha == "carry":
        reason = "carry has no effect: images generated from noise have no alpha to copy"
        yield ConfigError("data.alpha", reason, "Choose drop, composite or keep")
    if isinstance(data, TwoDomainsData):
        yield from _input_errors(data)
    if isinstance(data, PairedData):
        yield from _class_errors(data)


def _range_errors(data: DataConfig) -> Iterator[ConfigError]:
    for domain, setting in data.value_range.items():
        subject = f"data.value_range.{domain}"
        if domain not in data.domains:
            reason = f"there is no domain {domain} here (there is {' and '.join(data.domains)})"
            yield ConfigError(subject, reason)
        try:
            rule = parse_range(setting)
        except ValueError as error:
            yield ConfigError(subject, str(error))
            continue
        low, high = rule.limits or (0.0, 1.0)
        if not low < high:
            yield ConfigError(subject, f"[{low:g}, {high:g}] must be [low, high], low below high")
        if rule.clips and data.outside_range == "fail":
            reason = f"fail contradicts {setting} of domain {domain}, outside of which values lie"
            yield ConfigError("data.outside_range", reason, "Leave it out, or name two numbers")
        if domain in getattr(data, "classes", ()):
            yield ConfigError(subject, "class numbers have no range", "Leave it out")
        elif rule.clips and domain in data.labels:
            reason = f"{setting} would merge labels of domain {domain}"
            yield ConfigError(subject, reason, "Name two numbers, or leave data.masks out")


def _class_errors(data: PairedData) -> Iterator[ConfigError]:
    if data.classes and data.layout in ("ab", "ba"):
        reason = f"{data.layout} contradicts data.classes: halves of one file have one kind"
        yield ConfigError("data.layout", reason, "Use two folders")
    if "a" in data.classes and len(data.inputs) > 1:
        reason = "class numbers are one channel of one file, and several inputs are stacked"
        yield ConfigError("data.classes.a", reason, "Name one input")
    if data.color_jitter and data.direction.source in data.labels:
        reason = f"has no effect: domain {data.direction.source} holds labels"
        yield ConfigError("data.color_jitter", reason, "Leave it out")
    if data.class_edges and data.direction.source not in data.classes:
        reason = f"has no effect: domain {data.direction.source}, the input, holds no classes"
        hint = f"Set data.classes.{data.direction.source}, or leave it out"
        yield ConfigError("data.class_edges", reason, hint)
    if data.alpha == "carry" and data.classes:
        reason = "carry has no effect on class numbers"
        yield ConfigError("data.alpha", reason, "Choose drop")


def _input_errors(data: TwoDomainsData) -> Iterator[ConfigError]:
    if bool(data.inputs) != (data.target is not None):
        hint = "Pass --input for each input, and --target"
        yield ConfigError("data.inputs, data.target", "one needs the other", hint)
    if len(data.inputs) > 1 and not isinstance(data, PairedData):
        reason = f"{len(data.inputs)} inputs; only those of pairs are stacked"
        yield ConfigError("data.inputs", reason, "Name one folder")
    if not isinstance(data, PairedData) or not (data.inputs or data.pairs):
        return
    if data.layout != "auto":
        reason = f"{data.layout} contradicts inputs, target or pairs, which name the files"
        yield ConfigError("data.layout", reason, "Leave layout out")
    if data.direction != "a2b":
        reason = "inputs are translated to the target, so it must be a2b"
        yield ConfigError("data.direction", reason, "Exchange inputs and target instead")
    if data.alpha == "carry" and len(data.inputs) > 1:
        reason = "carry copies the alpha of one input, and there are several"
        yield ConfigError("data.alpha", reason, "Choose drop")


def check_train(train: TrainConfig) -> TrainConfig:
    """Return `train`.

    An `init_gain` that is what null means becomes null: earlier versions saved it with every run.

    Raises:
        ConfigError: it sets no length, compiles layers that are to be computed twice, or scales
            weights that have a scale of their own.
    """
    if train.compile and train.activation_checkpointing:
        reason = "has no effect on compiled networks, which choose what they compute again"
        raise ConfigError("train.activation_checkpointing", reason, "Leave out train.compile")
    if train.total_images is None and train.epochs is None:
        raise ConfigError(_LENGTHS, "one of them must set the length", "Pass --images or --epochs")
    init = {"init_gain": train.init}
    init["init_gain_discriminator"] = train.init_discriminator or train.init
    for key, scheme in init.items():
        if scheme == "kaiming" and getattr(train, key) is not None:
            reason = "has no effect with kaiming, whose scale follows from the number of inputs"
            raise ConfigError(f"train.{key}", reason, "Leave it out")
    implied = train.init_gain is not None and train.init_gain == GAINS[train.init]
    return train.model_copy(update={"init_gain": None}) if implied else train


def check_no_discriminator(section: dict[str, Any]) -> dict[str, Any]:
    """Return the `section` discriminator of a method that trains none.

    Raises:
        ConfigError: all settings in it.
    """
    errors = [
        ConfigError(
            f"discriminator.{key}", "has no effect: no discriminator is trained", "Leave it out"
        )
        for key, value in section.items()
        if (key, value) != ("name", "none")
    ]
    if errors:
        raise ConfigError.combine(errors)
    return section


def check_validate(section: ValidateConfig) -> ValidateConfig:
    """Return `section`.

    Raises:
        ConfigError: it names what only a validation uses, and there is none; or a metric that is
            not measured.
    """
    errors = []
    for key in ("metrics", "metric", "patience"):
        if section.every_images is None and getattr(section, key) is not None:
            reason = "has no effect: nothing is validated"
            errors.append(ConfigError(f"validate.{key}", reason, "Set validate.every_images"))
    if section.metric and section.metrics and section.metric not in section.metrics:
        reason = f"{section.metric} is not one of validate.metrics, {', '.join(section.metrics)}"
        errors.append(ConfigError("validate.metric", reason, "Add it there"))
    if section.metrics == ():
        errors.append(ConfigError("validate.metrics", "is empty", "Name one, or leave it out"))
    if errors:
        raise ConfigError.combine(errors)
    return section


def _makes_classes(config: Config) -> bool:
    """Return True if the target holds class numbers."""
    data = config.data
    return isinstance(data, PairedData) and data.direction.target in data.classes


def chosen_metrics(config: Config, kind: Kind) -> tuple[tuple[str, ...], str]:
    """Return the metrics of a validation on data of `kind`, and the one that chooses the best."""
    section, computable = config.validate, available("set")
    metrics = section.metrics or (OF_CLASSES if _makes_classes(config) else ("psnr", "ssim", "l1"))
    if kind != "paired" and not section.metrics:
        metrics = tuple(name for name in ("kid_effnet", "swd") if name in computable)
    best = next((name for name in ("ssim", "miou") if name in metrics), metrics[0])
    metric = section.metric or (best if kind == "paired" else metrics[0])
    return (metrics if metric in metrics else (*metrics, metric)), metric


def check_metrics(config: Config, kind: Kind) -> None:
    """Compare the metrics of validation with data of `kind` and with this installation.

    Raises:
        ConfigError: all metrics that cannot be computed.
    """
    section, errors = config.validate, []
    classes = _makes_classes(config)
    fitting = [*(available("paired", of_classes=classes) if kind == "paired" else ())]
    fitting += [] if classes else available("set")
    hint = f"Choose among {', '.join(fitting)}"
    side = min(height_width(config.data.crop_size))
    smallest = {"ssim": WINDOW, "ms_ssim": MS_SSIM_SIDE, "grid": spectrum.WINDOW}
    names, chosen = chosen_metrics(config, kind)
    if chosen == "grid":
        reason = "grid is best at 0, not at its lowest: it cannot choose the best weights"
        errors.append(ConfigError("validate.metric", reason, "Choose another, and keep it beside"))
    for name in names:
        subject = "validate.metric" if name == section.metric else "validate.metrics"
        if name not in METRICS:
            errors.append(ConfigError(subject, f"there is no metric {name}", hint))
        elif METRICS[name].of_classes != classes:
            needs, has = ("shades", "class numbers") if classes else ("class numbers", "shades")
            reason = f"{name} compares {needs}, and the target holds {has}"
            errors.append(ConfigError(subject, reason, hint))
        elif METRICS[name].kind == "paired" and kind != "paired":
            reason = f"{name} compares pairs, and {config.method.name} trains on {kind} images"
            errors.append(ConfigError(subject, reason, hint))
        elif name not in fitting:
            need = "Install it with: pip install 'i2i[features]'"
            errors.append(ConfigError(subject, f"{name} needs an extra that is missing", need))
        elif side < smallest.get(name, 0):
            reason = f"{name} needs sides of at least {smallest[name]} pixels, data.crop_size is"
            errors.append(ConfigError(subject, f"{reason} {side}", "Leave it out"))
    if errors:
        raise ConfigError.combine(errors)


def with_one_length(layer: Layer) -> Layer:
    """Return `layer` so that a length in one unit takes back that of an earlier layer in the other.

    Raises:
        ConfigError: it sets both.
    """
    train = layer.values.get("train")
    if not isinstance(train, dict):
        return layer
    if train.get("total_images") is not None and train.get("epochs") is not None:
        raise ConfigError(_LENGTHS, f"one of them sets the length; {layer.source} gives both")
    other = {"epochs": "total_images", "total_images": "epochs"}
    unset = {other[key]: None for key in other if train.get(key) is not None}
    return Layer(layer.source, layer.values | {"train": unset | train})


def check_networks(config: Config, method: Method) -> None:
    """Compare settings with the networks of `method`.

    Raises:
        ConfigError: some do not fit, or would have no effect.
    """
    check_sizes(config, method)
    check_discriminators(config, method)
    check_initialization(config, method)


def check_initialization(config: Config, method: Method) -> None:
    """Compare the settings of initial weights with the networks of `method`.

    Raises:
        ConfigError: they are for networks that draw weights of their own.
    """
    nets = [net for net in method.modules() if isinstance(net, Generator | Discriminator)]
    critics = [net for net in nets if isinstance(net, Discriminator)]
    for group, suffix in ((nets, ""), (critics, "_discriminator")):
        if group and all(getattr(net, "own_init", False) for net in group):
            for key in (f"init{suffix}", f"init_gain{suffix}"):
                if getattr(config.train, key) != TrainConfig.model_fields[key].default:
                    reason = "has no effect: these networks draw initial weights of their own"
                    raise ConfigError(f"train.{key}", reason, "Leave it out")


def check_discriminators(config: Config, method: Method) -> None:
    """Compare the settings of discriminators with what `method` trains.

    Raises:
        ConfigError: some are for discriminators, and none is trained.
    """
    if any(not phase.live and phase.schedule.length for phase in method.phases()):
        return
    for section, key in _OF_DISCRIMINATORS:
        if getattr(getattr(config, section), key) is not None:
            reason = "has no effect: no discriminator is trained"
            raise ConfigError(f"{section}.{key}", reason, "Set it to null, or leave it out")


def check_sizes(config: Config, method: Method) -> None:
    """Compare the crop with what the networks of `method` take.

    Raises:
        ConfigError: all networks that do not fit.
    """
    errors: list[ConfigError] = []
    for net in method.modules():
        if isinstance(net, Discriminator):
            errors += _size_errors("discriminator", net, config)
    for net in method.translators().values():
        if isinstance(net, Generator):
            errors += _size_errors("generator", net, config)
    if errors:
        raise ConfigError.combine(errors)


def _size_errors(
    section: str, net: Generator | Discriminator, config: Config
) -> Iterator[ConfigError]:
    height, width = height_width(config.data.crop_size)
    crop, name = f"{height}x{width}", getattr(config, section).name
    if net.size is not None and tuple(net.size) != (height, width):
        reason = f"{tuple(net.size)} is not data.crop_size, {crop}"
        yield ConfigError(f"{section}.size", reason, "Leave it out: it follows the crop")
    elif isinstance(net, Generator) and (height % net.size_divisor or width % net.size_divisor):
        reason = f"{name} takes sides that are multiples of {net.size_divisor}, not {crop}"
        hint = "Choose another crop, or a generator with fewer halvings (generator.depth)"
        yield ConfigError("data.crop_size", reason, hint)
    elif min(height, width) < net.min_size:
        reason = f"{name} needs sides of at least {net.min_size} pixels, not {crop}"
        hint = "Choose a larger crop"
        if section == "discriminator":
            hint += ", or fewer discriminator.layers"
        yield ConfigError("data.crop_size", reason, hint)
