"""The settings of a run: of a new one, of a resumed one, and their JSON Schema."""

import functools
import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, create_model, field_validator

from i2i import registry
from i2i.checkpoint import CHECKPOINTS, CheckpointError, facts, steps
from i2i.config import (
    DATA,
    SECTIONS,
    VERSION,
    WITHOUT_SOURCE,
    Component,
    Config,
    ConfigError,
    DataConfig,
    Layer,
    Section,
    component_model,
    is_resumable,
    merge,
    parse_range,
    read_yaml,
    section_schema,
    validate,
)
from i2i.console import log
from i2i.data.walk import SPLITS
from i2i.files import read_own
from i2i.methods._adversarial import AdversarialLoss
from i2i.run.contradictions import (
    check_data,
    check_no_discriminator,
    check_train,
    check_validate,
    with_one_length,
)

CONFIG = "config.yaml"  # in a run folder
_NONE: Literal["none"] = "none"  # name of the discriminator of a method without one
_CHECKSUM = b"# sha256 of the lines above: "
# published filters: files of version 2 mean networks without them, and they fit no other network
_FILTERS = {"generator": ("antialias", "upsample"), "discriminator": ("antialias",)}
NETWORKS: dict[str, registry.Category] = {
    "generator": "generators",
    "discriminator": "discriminators",
}


class _NoDiscriminator(Component):
    """No discriminator: the method trains its generators alone."""

    name: Literal["none"] = Field(_NONE, description="name of no network")


def has_discriminator(method: str) -> bool:
    """Return True if the method trains one: if its constructor takes `make_discriminator`.

    Raises:
        UnknownComponentError: there is no such method.
    """
    factory = registry.find("methods", method).factory
    return "make_discriminator" in inspect.signature(factory).parameters


def resolve(method: str, layers: Sequence[Layer]) -> Config:
    """Return the settings of a run of `method`: its published defaults, then `layers` in order.

    Raises:
        ConfigError: all settings that are unknown, of a wrong type, out of range or contradictory.
        UnknownComponentError: there is no such method or network.
    """
    factory = registry.find("methods", method).factory
    names = {section: {"name": _NONE} for section in NETWORKS}  # where there is no such network
    defaults = merge([Layer("", names | {"method": {"name": method}}), Layer("", factory.defaults)])
    layers = [with_one_length(layer) for layer in layers]
    chosen = merge([Layer("", defaults), *layers])
    if (other := chosen["method"]["name"]) != method:
        raise ConfigError("method.name", f"the settings are for {other}, the command for {method}")
    old = any(layer.values.get("version") == 2 for layer in layers)
    if old:
        layers.append(Layer("", {"version": VERSION}))
    models: dict[str, type[Component]] = {"discriminator": _NoDiscriminator}
    for section in NETWORKS if has_discriminator(method) else ("generator",):
        models[section] = _network_model(section, chosen[section]["name"])
    for section in NETWORKS:
        if old or _is_another(section, defaults[section]["name"], chosen[section]["name"]):
            kept = defaults[section].items()
            defaults[section] = {k: v for k, v in kept if k not in _FILTERS[section]}
    crop = chosen.get("data", {}).get("crop_size", 256)
    size = [crop, crop] if isinstance(crop, int) else crop
    for section, model in models.items():
        field = model.model_fields.get("size")
        if field and (field.default is not None or chosen[section].get("head") == "image"):
            defaults[section]["size"] = size
        # published options of another network than the chosen one do not apply
        options = {
            key: value for key, value in defaults[section].items() if key in model.model_fields
        }
        defaults[section] = options | {"name": chosen[section]["name"]}
    complete = _config_model(method=_method_model(method), data=DATA[factory.kind], **models)
    return validate([Layer("defaults", defaults), *layers], complete)


def _is_another(section: str, published: str, chosen: str) -> bool:
    """Return True if the two names are those of different networks, not presets of one."""
    if _NONE in (published, chosen):
        return False
    category = NETWORKS[section]
    return registry.find(category, published).factory is not registry.find(category, chosen).factory


def saved(folder: Path, method: str | None = None) -> Config:
    """Return the settings of the run in `folder`, as it was begun or last resumed.

    Args:
        method: as `resolve` takes it; None: that of the run.

    Raises:
        CheckpointError: there is no run.
        ConfigError: as in `resolve`.
    """
    method, layer = _saved_layer(folder, method, lambda _: None)
    return resolve(method, [layer])


def resume(folder: Path, method: str | None, layers: Sequence[Layer]) -> Config:
    """Return the settings of the run in `folder`, changed by `layers`; `method` as in `saved`.

    Raises:
        CheckpointError: there is no run.
        ConfigError: as in `resolve`; or all changes of settings that are fixed for a run.
    """
    method, layer = _saved_layer(folder, method, log)
    before = resolve(method, [layer]).to_dict()
    layers = [_keep_fitted(each, before["data"]["value_range"]) for each in layers]
    given = merge(layers)
    errors = []
    for section in NETWORKS:  # options of another network than the saved one would be unknown
        name = given.get(section, {}).get("name", before[section]["name"])
        if name != before[section]["name"]:
            errors.append(_fixed(f"{section}.name", before[section]["name"], name))
    if errors:
        raise ConfigError.combine(errors)
    settings = with_absolute_paths(resolve(method, [layer, *layers]))
    after = settings.to_dict()
    for section in SECTIONS:
        fields = type(getattr(settings, section)).model_fields
        for key in given.get(section, {}):
            was, now = before[section][key], after[section][key]
            if was != now and not is_resumable(fields[key]):
                errors.append(_fixed(f"{section}.{key}", was, now))
    if errors:
        raise ConfigError.combine(errors)
    return settings


def with_absolute_paths(config: Config) -> Config:
    """Return `config` with absolute paths for folders and tables that lie outside of the data.

    A run must find them from any folder; names below `data.root` stay as they are.
    """
    root, changed = Path(config.data.root).expanduser(), dict[str, Any]()

    def absolute(name: str) -> str:
        below = any((root / split / name).exists() for split in ("", *SPLITS))
        return name if below or not Path(name).exists() else str(Path(name).absolute())

    for key in ("inputs", "target", "pairs"):
        value = getattr(config.data, key, None)
        if value:
            names = (value,) if isinstance(value, str) else value
            paths = tuple(map(absolute, names))
            changed[key] = paths[0] if isinstance(value, str) else paths
    return config.model_copy(update={"data": config.data.model_copy(update=changed)})


def changes(before: Config, after: Config) -> list[str]:
    """Return a note for each setting that differs."""
    old, new = before.to_dict(), after.to_dict()
    notes = []
    for section in SECTIONS:
        for key, now in new[section].items():
            was = old[section].get(key)
            if was != now:
                notes.append(
                    f"{section}.{key} is {json.dumps(now)} from here on, it was {json.dumps(was)}"
                )
    return notes


def config_text(settings: Config) -> bytes:
    """Return the content of a run's config file, which ends with its checksum."""
    text = settings.to_yaml().encode()
    return text + _CHECKSUM + hashlib.sha256(text).hexdigest().encode() + b"\n"


def _saved_layer(
    folder: Path, method: str | None, note: Callable[[str], None]
) -> tuple[str, Layer]:
    """Return the method of a run, or the one that is given, and the run's settings.

    Raises:
        CheckpointError: there is no run.
        ConfigError: as `_saved`; or no method is named.
    """
    if not (folder / CONFIG).exists() and not steps(folder / CHECKPOINTS):
        raise CheckpointError(folder, f"no run to resume here (there is no {CONFIG})")
    layer = _saved(folder, note)
    if method is None:
        method = merge([layer]).get("method", {}).get("name")
        if not isinstance(method, str):
            raise ConfigError(folder / CONFIG, "names no method (method.name)")
    return method, layer


def _saved(folder: Path, note: Callable[[str], None]) -> Layer:
    """Return the settings in the file of a run, or without it those of the newest checkpoint.

    Raises:
        ConfigError: the file differs from the checkpoint, in all these settings.
    """
    path, recorded = folder / CONFIG, facts(folder / CHECKPOINTS)
    content = read_own(path) if path.exists() else None
    if not isinstance(recorded.get("settings"), dict):  # of an older version
        return _without_idle_gain(read_yaml(path))
    past = _without_idle_gain(Layer("the newest checkpoint", recorded["settings"]))
    if content is None:
        note(f"note: there is no {path}; the settings are those of the newest checkpoint")
        return _where_it_was(past, recorded, note)
    text, mark, checksum = content.rpartition(_CHECKSUM)
    # a run that was killed after it was resumed has changes that no checkpoint knows
    ours = mark and hashlib.sha256(text).hexdigest().encode() == checksum.strip()
    hint = f"Change settings with --set; remove {path} to take those of the newest checkpoint"
    try:
        layer = _without_idle_gain(read_yaml(path))
        method = recorded["settings"]["method"]["name"]
        settings = resolve(method, [layer])
        now, was = settings.to_dict(), resolve(method, [past]).to_dict()
    except (ConfigError, registry.UnknownComponentError) as error:
        raise ConfigError(
            path, f"edited or damaged ({error.subject}: {error.reason})", hint
        ) from None
    keys = [(section, key) for section in SECTIONS for key in {**was[section], **now[section]}]
    changed = [
        f"{section}.{key} ({json.dumps(was[section].get(key))} there, "
        f"{json.dumps(now[section].get(key))} here)"
        for section, key in keys
        if was[section].get(key) != now[section].get(key)
        and not (ours and is_resumable(type(getattr(settings, section)).model_fields[key]))
    ]
    if changed:
        what = "of another run" if ours else "edited or damaged"
        reason = f"{what}: differs from the newest checkpoint in {', '.join(changed)}"
        raise ConfigError(path, reason, hint)
    return _where_it_was(layer, recorded, note)


def _without_idle_gain(layer: Layer) -> Layer:
    """Return `layer` as it would be saved today: kaiming has no gain, which it never scaled by."""
    train = layer.values.get("train")
    if not isinstance(train, dict) or train.get("init") != "kaiming":
        return layer
    return layer._replace(values=layer.values | {"train": train | {"init_gain": None}})


def _where_it_was(layer: Layer, recorded: Mapping[str, Any], note: Callable[[str], None]) -> Layer:
    """Return `layer` with the data where it was when the run began, for a relative path."""
    root, absolute = layer.values.get("data", {}).get("root"), recorded.get("root")
    if not isinstance(root, str) or not isinstance(absolute, str) or not Path(absolute).is_dir():
        return layer
    if Path(root).is_absolute() or str(Path(root).resolve()) == absolute:
        return layer
    note(f"note: data.root is {absolute}, as when the run began, not {root} below this folder")
    return layer._replace(values=merge([layer, Layer("", {"data": {"root": absolute}})]))


def _fixed(key: str, was: Any, now: Any) -> ConfigError:
    reason = f"cannot change in a resumed run from {json.dumps(was)} to {json.dumps(now)}"
    return ConfigError(key, reason, "Begin another run with another --out")


def with_length(config: Config, epoch_images: int) -> Config:
    """Return `config` with its length in images, now that the length of an epoch is known."""
    train = config.train
    images = train.total_images or max(1, round((train.epochs or 0) * epoch_images))
    length = {"total_images": images, "epochs": None}
    return config.model_copy(update={"train": train.model_copy(update=length)})


def with_fitted(config: Config, data: DataConfig) -> Config:
    """Return `config` with the value ranges that were fitted to `data`."""
    ranges = {"value_range": data.value_range}
    return config.model_copy(update={"data": config.data.model_copy(update=ranges)})


def _keep_fitted(layer: Layer, before: Mapping[str, Any]) -> Layer:
    """Return `layer` with the numbers of a run for percentiles that are given again."""
    data = layer.values.get("data")
    given = data.get("value_range") if isinstance(data, dict) else None
    if not isinstance(given, dict):
        return layer
    kept = {domain: _fitted(setting, before.get(domain)) for domain, setting in given.items()}
    if kept == given:
        return layer
    return layer._replace(values=merge([layer, Layer("", {"data": {"value_range": kept}})]))


def _fitted(setting: Any, before: Any) -> Any:
    if not isinstance(setting, str) or not isinstance(before, str):
        return setting
    with suppress(ValueError):
        rule, fitted = parse_range(setting), parse_range(before)
        same = rule.percentiles is not None and rule.percentiles == fitted.percentiles
        return before if same and rule.limits is None else setting
    return setting


# -- models ----------------------------------------------------------------------------------------


@functools.cache  # a program resolves the same settings some ten times
def _config_model(**sections: type[Section]) -> type[Config]:
    """Return the type of settings with these types by section."""
    checks: dict[str, Any] = {
        "check_data": field_validator("data")(check_data),
        "check_train": field_validator("train")(check_train),
        "check_validate": field_validator("validate")(check_validate),
    }
    if sections["discriminator"] is _NoDiscriminator:
        check = field_validator("discriminator", mode="before")(check_no_discriminator)
        checks["check_no_discriminator"] = check
    fields: dict[str, Any] = {section: (model, ...) for section, model in sections.items()}
    return create_model(
        "Config",
        __base__=Config,
        __cls_kwargs__=WITHOUT_SOURCE,
        __validators__=checks,
        **fields,
    )


def _method_model(name: str) -> type[Component]:
    own = registry.find("methods", name).factory
    factories = [own, AdversarialLoss] if has_discriminator(name) else [own]
    return component_model(name, factories, {}, registry.summary("methods", name))


def _network_model(section: str, name: object) -> type[Component]:
    if not isinstance(name, str):
        raise ConfigError(f"{section}.name", f"must be a name, got {name!r}")
    entry = registry.find(NETWORKS[section], name)
    summary = registry.summary(NETWORKS[section], name)
    return component_model(name, [entry.factory], entry.preset, summary)


def json_schema(method: str) -> dict[str, Any]:
    """Return the JSON Schema of config files for `method`, with its published defaults.

    The sections generator and discriminator have one variant for each network, the published one
    first; others are recognized by their name.
    """
    defaults = resolve(method, [Layer("", {"data": {"root": "PATH"}})])
    sections: dict[str, Any] = {"version": {"const": VERSION}}
    definitions: dict[str, Any] = {}
    values = defaults.to_dict()
    values["data"].pop("root")
    for section in SECTIONS:
        schema = section_schema(type(getattr(defaults, section)), values[section])
        definitions |= schema.pop("$defs", {})
        sections[section] = schema
    for section, category in NETWORKS.items():
        variants = [sections[section]]
        for name in registry.names(category) if values[section]["name"] != _NONE else ():
            if name != values[section]["name"]:
                variants.append(network_schema(section, name) | {"required": ["name"]})
        sections[section] = {"anyOf": variants}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Settings of {method}",
        "type": "object",
        "properties": sections,
        "additionalProperties": False,
        "$defs": definitions,
    }


def network_schema(section: str, name: str) -> dict[str, Any]:
    """Return the JSON Schema of a generator's or discriminator's options with its own defaults."""
    return section_schema(_network_model(section, name), {})
