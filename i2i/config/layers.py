"""Layers of settings from config files and `--set`; later layers win. No torch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from i2i.config.errors import ConfigError
from i2i.config.sections import Config

SECTIONS = tuple(name for name in Config.model_fields if name != "version")
VERSION = 3  # of the settings' names, and of the published settings of methods
MAX_BYTES = 2**17  # of a config file: what YAML takes seconds for
MAX_VALUES, MAX_DEPTH = 10_000, 30  # of one layer
MAX_TEXT, MAX_NUMBER = 10_000, 2**63  # characters; what libraries hold in an integer

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


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key that is given twice, as YAML does."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else ("", "")
            if name in keys and name[0]:
                raise yaml.MarkedYAMLError(
                    problem=f"{name[1]} is given twice", problem_mark=key.start_mark
                )
            keys.add(name)
        return node


def read_yaml(path: Path) -> Layer:
    """Read a config file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, gives a key twice, is not a mapping of
            sections, is too large, also when its aliases are followed, or was written by a newer
            version.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ConfigError(path, f"more than {MAX_BYTES // 2**10} KiB, which no config file has")
        values = yaml.load(content.decode("utf-8"), _Loader)
    except OSError as error:
        raise ConfigError(path, f"cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(path, f"not UTF-8 at byte {error.start}", "Save it as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        reason = f"not valid YAML ({line}{error.problem or error.context})"
        raise ConfigError(path, reason, "Correct it") from None
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
        parsed: Any = json.loads(value, object_pairs_hook=_unique)
    except ConfigError as error:
        raise error.with_subject(f"--set {key}") from None
    except (ValueError, RecursionError):
        parsed = value
    for part in reversed(parts):
        parsed = {part: parsed}
    return _checked(Layer("--set", parsed))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object whose keys are distinct."""
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError("--set", f"{twice} is given twice", "Give it once")
    return values


def _checked(layer: Layer) -> Layer:
    """Return `layer` migrated. Refuse absurd values, and endless ones: an alias can hold itself."""
    pending: list[tuple[Any, tuple[str, ...]]] = [(layer.values, ())]
    for _ in range(MAX_VALUES):
        value, keys = pending.pop()
        if isinstance(value, str) and (len(value) > MAX_TEXT or "\0" in value):
            reason = f"text of {len(value):,} characters" if "\0" not in value else "holds NUL"
            raise ConfigError(".".join(keys), f"{reason}, from {layer.source}")
        if isinstance(value, int) and abs(value) >= MAX_NUMBER:
            reason = f"a number of {value.bit_length():,} bits, the limit is 63"
            raise ConfigError(".".join(keys), f"{reason}, from {layer.source}")
        items = (
            value.items()
            if isinstance(value, dict)
            else enumerate(value)
            if isinstance(value, list)
            else ()
        )
        if items and len(keys) == MAX_DEPTH:
            break
        pending.extend((child, (*keys, str(key))) for key, child in items)
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
        values["version"] = 2
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


def combine(layers: Sequence[Layer], source: str) -> Layer:
    """Return the layer of all `layers`, none of which is later than another.

    Raises:
        ConfigError: two of them give different values for one setting.
    """
    given: dict[str, Any] = {}
    for layer in layers:
        for key, value in _leaves(layer.values, ""):
            if given.setdefault(key, value) != value:
                reason = f"given twice, as {json.dumps(given[key])} and {json.dumps(value)}"
                raise ConfigError(key, reason, "Give it once")
    renamed = [name for layer in layers for name in layer.renamed]
    return Layer(source, merge(layers), tuple(renamed))


def _leaves(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _merge_into(target: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        current = target.get(key)
        if isinstance(value, Mapping):
            target[key] = dict(current) if isinstance(current, dict) else {}
            _merge_into(target[key], value)
        elif value is not None or not isinstance(current, dict):  # `train:` alone changes nothing
            target[key] = value
