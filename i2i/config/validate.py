"""From layers to settings: types from the code, every error at once, each with a fix. No torch."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from i2i.config.errors import ConfigError
from i2i.config.layers import RENAMED, Layer, merge
from i2i.config.sections import WITHOUT_SOURCE, Component, Config
from i2i.options import explain, option_fields

MAX_ERRORS = 20  # reported at once
_models: dict[tuple[object, ...], type[Component]] = {}  # with validators: 4 take 15 ms


def component_model(
    name: str, factories: Sequence[type[Any]], preset: Mapping[str, Any], summary: str
) -> type[Component]:
    """Derive a model from the keyword-only parameters of `factories`: code and settings agree."""
    made_from = (name, *factories, repr(preset), summary)
    if made_from in _models:
        return _models[made_from]
    fields: dict[str, Any] = {
        "name": (Literal[name], Field(name, description="name, as in `i2i list`"))
    }
    for factory in factories:
        for key, (hint, default) in option_fields(factory).items():
            fields[key] = (hint, preset.get(key, default))
    title = f"{factories[0].__module__}.{name}"  # methods and networks may share a name
    model: type[Component] = create_model(
        title, __base__=Component, __cls_kwargs__=WITHOUT_SOURCE, __doc__=summary, **fields
    )
    return _models.setdefault(made_from, model)


def validate(layers: Sequence[Layer], model: type[Config]) -> Config:
    """Merge `layers` and check them against `model`.

    Raises:
        ConfigError: all settings that are unknown, out of range, of a wrong type or contradictory.
    """
    try:
        return model.model_validate(merge(layers))
    except ValidationError as error:
        keys = list(_keys(model))
        errors = [_error(item, keys, layers) for item in error.errors()[:MAX_ERRORS]]
        raise ConfigError.combine(_one_each(errors)) from None


def _one_each(errors: Sequence[ConfigError]) -> Iterator[ConfigError]:
    """Yield one error about each setting: of several types, each refuses a value by itself."""
    parts = [part for error in errors for part in error.errors]
    for subject in dict.fromkeys(part.subject for part in parts):
        same = [part for part in parts if part.subject == subject]
        reasons = dict.fromkeys(part.reason for part in same)
        yield ConfigError(subject, "; or ".join(reasons), same[0].hint)


def _error(item: ErrorDetails, keys: Sequence[str], layers: Sequence[Layer]) -> ConfigError:
    """Translate an error of pydantic's: {type, loc, msg, input, ctx}."""
    raised = item.get("ctx", {}).get("error")
    if isinstance(raised, ConfigError):
        return raised
    key = ".".join(str(part) for part in item["loc"][:2])  # deeper parts name members of a union
    source = _source(item["loc"], layers)
    match item["type"]:
        case "extra_forbidden":
            suggestion = _suggestion(key, keys)
            hint = f"Did you mean {suggestion}?" if suggestion else ""
            return ConfigError(key, f"unknown setting{source}", hint)
        case "missing":
            return ConfigError(key, "required", "Pass --data FOLDER" if key == "data.root" else "")
        case _:
            return ConfigError(key, f"{explain(item)}{source}")


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _suggestion(key: str, keys: Sequence[str]) -> str:
    """Return the setting that `key`, perhaps an old one, may mean; "" if none is close."""
    names = {name: name for name in keys} | {
        old: new for old, new in RENAMED.items() if new in keys
    }
    sections = {name.partition(".")[0]: name.partition(".")[0] for name in keys}
    close = get_close_matches(key, names if "." in key else sections, 1, 0.6)
    if close:
        return names.get(close[0], close[0])
    leaves = {name.rpartition(".")[2]: new for name, new in names.items()}
    close = get_close_matches(key.rpartition(".")[2], leaves, 1, 0.6)
    return leaves[close[0]] if close else ""


def _source(location: Sequence[str | int], layers: Sequence[Layer]) -> str:
    """Return " in FILE" if the value at `location` comes from a file."""
    for layer in reversed(layers):
        values: Any = layer.values
        for part in location[:2]:
            values = values.get(part) if isinstance(values, Mapping) else None
        if values is not None:
            return (
                ""
                if layer.source in ("--set", "the command line", "defaults")
                else f" in {layer.source}"
            )
    return ""
