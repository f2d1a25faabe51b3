"""From layers to settings: types from the code, every error at once, each with a fix. No torch."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from typing_extensions import Doc

from i2i.config.errors import ConfigError
from i2i.config.layers import RENAMED, Layer, merge
from i2i.config.sections import Component, Config


def component_model(
    name: str, factories: Sequence[Callable[..., Any]], preset: Mapping[str, Any]
) -> type[Component]:
    """Derive a model from the keyword-only parameters of `factories`: code and settings agree.

    An annotation `Annotated[T, Doc("...")]` describes the option.
    """
    fields: dict[str, Any] = {"name": (Literal[name], name)}
    for factory in factories:
        function = factory.__init__ if inspect.isclass(factory) else factory
        hints = get_type_hints(function, include_extras=True)
        for key, parameter in inspect.signature(function).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY:
                default = preset.get(key, parameter.default)
                text = _documentation(hints[key])
                fields[key] = (hints[key], Field(default, description=text))
    title = f"{factories[0].__module__}.{name}"  # methods and networks may share a name
    model: type[Component] = create_model(title, __base__=Component, **fields)
    model.model_config |= ConfigDict(extra="forbid", frozen=True)
    model.model_rebuild(force=True)
    return model


def _documentation(hint: Any) -> str | None:
    extras = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((extra.documentation for extra in extras if isinstance(extra, Doc)), None)


def validate(layers: Sequence[Layer], model: type[Config]) -> Config:
    """Merge `layers` and check them against `model`.

    Raises:
        ConfigError: all settings that are unknown, out of range, of a wrong type or contradictory.
    """
    try:
        return model.model_validate(merge(layers))
    except ValidationError as error:
        keys = list(_keys(model))
        errors = (_error(item, keys, layers) for item in error.errors())
        raise ConfigError.combine(errors) from None


def _error(item: Any, keys: Sequence[str], layers: Sequence[Layer]) -> ConfigError:
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
            return ConfigError(key, f"{item['msg']} (got {item['input']!r}{source})")


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def _suggestion(key: str, keys: Sequence[str]) -> str:
    """Return the setting that `key` may mean, "" where none is close; old names lead to new ones."""
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
    """Return " in FILE" for the layer that sets the value at `location`; "" for flags and defaults."""
    for layer in reversed(layers):
        values: Any = layer.values
        for part in location[:2]:
            values = values.get(part) if isinstance(values, Mapping) else None
        if values is not None:
            return "" if layer.source in ("--set", "defaults") else f" in {layer.source}"
    return ""
