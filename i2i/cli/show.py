"""`i2i show`: every setting of a method, or the description of a model."""

import json
import shutil
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from i2i import registry
from i2i.cli import _options

Json = Mapping[str, Any]
_SIGNS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}


@click.command()
@click.argument("what", type=_options.path, metavar="METHOD|MODEL")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of METHOD's config files.")
def command(what: str, schema: bool) -> None:
    """Print every setting of a METHOD, or the description of a MODEL."""
    if what in registry.names("methods"):
        from i2i.run.settings import json_schema

        document = json_schema(what)
        click.echo(json.dumps(document, indent=2) if schema else settings_text(document))
    elif schema:
        raise click.UsageError(f"--schema: {what} is no method; choose from {_methods()}")
    else:
        from i2i.model_file import load_model
        from i2i.model_path import model_path

        if not model_path(Path(what)).exists():
            raise click.UsageError(f"{what}: no method and no model; methods: {_methods()}")
        click.echo(load_model(what).info.to_yaml(), nl=False)  # whose checksum holds


def _methods() -> str:
    return ", ".join(registry.names("methods"))


# -- settings --------------------------------------------------------------------------------------


def settings_text(document: Json) -> str:
    """Return the settings in a JSON Schema from `json_schema`, aligned in columns."""
    width = min(shutil.get_terminal_size().columns, 110)
    lines = [
        "Set any of these with --set section.key=value, or in a file (--config).",
        "* marks what a resumed run may change.",
    ]
    for section, schema in document["properties"].items():
        if section == "version":
            continue
        published, *others = schema.get("anyOf", [schema])
        lines += ["", *textwrap.wrap(f"{section}: {published['description']}", width)]
        lines += _rows(published["properties"], document, width)
        if others:
            names = ", ".join(other["properties"]["name"]["const"] for other in others)
            lines.append(f"  other names, with options of their own: {names}")
    return "\n".join(lines)


def _rows(settings: Json, document: Json, width: int) -> Iterator[str]:
    key_width = max(map(len, settings))
    default_width = max(len(default_text(setting)) for setting in settings.values())
    indent = " " * (key_width + default_width + 6)
    for key, setting in settings.items():
        mark = "*" if setting.get("resumable") else " "
        start = f"{mark} {key:<{key_width}}  {default_text(setting):<{default_width}}  "
        text = f"{setting.get('description', '')} ({values_text(setting, document)})".strip()
        yield from textwrap.wrap(
            text, width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False
        )


def default_text(setting: Json) -> str:
    """Return the default of a setting as it is written with `--set`."""
    default = setting.get("default", "required")
    return default if isinstance(default, str) else json.dumps(default)


def values_text(setting: Json, document: Json) -> str:
    """Return the values that a setting takes, from its schema: "int >= 1", "fp32 | bf16"."""
    if "$ref" in setting:
        setting = document["$defs"][setting["$ref"].rpartition("/")[2]]
    if "anyOf" in setting:
        return " | ".join(values_text(member, document) for member in setting["anyOf"])
    if "const" in setting:
        return str(setting["const"])
    if "enum" in setting:
        return " | ".join(map(str, setting["enum"]))
    match setting["type"]:
        case "array" if "prefixItems" in setting:
            return f"[{', '.join(values_text(item, document) for item in setting['prefixItems'])}]"
        case "array":
            return f"list of {values_text(setting['items'], document)}"
        case "object":
            return f"mapping to {values_text(setting['additionalProperties'], document)}"
        case "integer" | "number" as kind:
            bounds = [f"{sign} {setting[key]:g}" for key, sign in _SIGNS.items() if key in setting]
            return f"{'int' if kind == 'integer' else 'float'} {' and '.join(bounds)}".strip()
        case kind:
            return str({"boolean": "true | false", "string": "text"}.get(kind, kind))
