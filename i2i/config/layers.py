"""Layers of settings from config files and `--set`; later layers win. No torch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from i2i.config.errors import ConfigError
from i2i.config.sections import Config

SECTIONS = tuple(name for name in Config.model_fields if name != "version")
VERSION = 2  # of the settings' names
MAX_VALUES, MAX_DEPTH = 10_000, 30  # of one layer

RENAMED = {  # settings of version 1 -> settings of version 2
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
    """Settings from one source, by section and key."""

    source: str  # for messages: a file, "--set", "defaults"
    values: dict[str, Any]
    renamed: tuple[str, ...] = ()  # keys of `RENAMED` that were translated


def read_yaml(path: Path) -> Layer:
    """Read a config file.

    Raises:
        ConfigError: the file cannot be read, is not YAML or not a mapping of sections, is too large
            when its aliases are followed, or was written by a newer version.
    """
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(path, f"not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        kind = type(values).__name__
        raise ConfigError(path, f"must hold sections such as `train:`, has {kind}")
    return _checked(Layer(str(path), values))


def parse_override(text: str) -> Layer:
    """Parse `a.b=v`; `v` is JSON (1e-4, true, [0, 0.9], null) or, where it does not parse, text.

    Raises:
        ConfigError: no `=`, an empty key, or a value as in `read_yaml`.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        hint = "Write it as section.key=value, such as optim.lr=1e-4"
        raise ConfigError(f"--set {text}", "not a setting with a value", hint)
    try:
        parsed: Any = json.loads(value)
    except (ValueError, RecursionError):
        parsed = value
    for part in reversed(parts):
        parsed = {part: parsed}
    return _checked(Layer("--set", parsed))


def _checked(layer: Layer) -> Layer:
    """Return `layer` migrated. Refuse endless ones: a YAML alias can hold itself."""
    pending: list[tuple[Any, int]] = [(layer.values, 0)]
    for _ in range(MAX_VALUES):
        value, depth = pending.pop()
        children = value.values() if isinstance(value, dict) else value
        if isinstance(value, dict | list) and children:
            if depth == MAX_DEPTH:
                break
            pending.extend((child, depth + 1) for child in children)
        if not pending:
            return migrate(layer)
    limits = f"more than {MAX_VALUES} values, or nests more than {MAX_DEPTH} levels"
    raise ConfigError(layer.source, f"holds {limits}", "Shorten it")


def migrate(layer: Layer) -> Layer:
    """Return `layer` with the keys of today.

    Raises:
        ConfigError: it was written by a newer version, or gives a setting under both its names.
    """
    values = {
        key: dict(part) if isinstance(part, dict) else part for key, part in layer.values.items()
    }
    version = values.get("version")
    if isinstance(version, int) and version > VERSION:
        reason = f"written by a newer i2i (version {version}; this one reads up to {VERSION})"
        raise ConfigError(layer.source, reason, "Update i2i")
    if version == 1:
        values["version"] = VERSION
    renamed = []
    for old, new in RENAMED.items():
        (section, key), (new_section, new_key) = old.split("."), new.split(".")
        part = values.get(section)
        if not isinstance(part, dict) or key not in part:
            continue
        target = values[new_section] = values.get(new_section) or {}  # `log:` may be empty
        if not isinstance(target, dict) or new_key in target:
            reason = f"{old} is now {new}, and both are given"
            raise ConfigError(layer.source, reason, f"Leave {old} out")
        target[new_key] = part.pop(key)
        renamed.append(old)
    return Layer(layer.source, values, tuple(renamed))


def merge(layers: Sequence[Layer]) -> dict[str, Any]:
    """Merge mappings, those of later layers win; lists and scalars are replaced.

    Raises:
        ConfigError: something other than a mapping is given for a section.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for section, values in layer.values.items():
            if section in SECTIONS and not isinstance(values, Mapping | None):
                hint = f"Write it as {section}: {{key: value}}"
                raise ConfigError(section, f"must hold settings, got {values!r}", hint)
            _merge_into(merged, {section: values or {} if section in SECTIONS else values})
    return merged


def _merge_into(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        current = target.get(key)
        if isinstance(value, Mapping):
            target[key] = dict(current) if isinstance(current, dict) else {}
            _merge_into(target[key], value)
        elif value is not None or not isinstance(current, dict):  # `train:` alone changes nothing
            target[key] = value
