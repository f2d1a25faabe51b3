"""Pages from templates: one HTML file that fetches nothing and runs only its own script."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from i2i.errors import printable
from i2i.files import write_atomically

MAX_TEXT = 4_000  # characters of a text from files
SCRIPTS = ("pictures.js", "curves.js")


def write_page(path: Path, template: str, data: Mapping[str, Any], **values: Any) -> None:
    """Write a page atomically; all text is escaped, and made printable, where a template shows it.

    Args:
        template: name of a file in `templates`.
        data: what the scripts draw from; numbers that are not finite become null.
        values: what the template shows.

    Raises:
        WriteError: the file cannot be written.
    """
    style = _asset("page.css")
    script = "\n".join(map(_asset, SCRIPTS))
    text = (
        _environment()
        .get_template(template)
        .render(
            values,
            style=Markup(style),
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
            data=Markup(_json(data)),
        )
    )
    write_atomically(path, text.encode(), flush=False)


def text(value: float, decimals: int = 4) -> str:
    """Return a number with thousands separated; "–" where it is not finite."""
    return f"{value:,.{decimals}f}" if math.isfinite(value) else "–"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("i2i.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters["number"] = text
    environment.filters["value"] = setting_text
    return environment


def _printable(value: object) -> object:
    return printable(value, MAX_TEXT) if type(value) is str else value


def setting_text(value: object) -> str:
    """Return the value of a setting as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _asset(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    """Return the source expression of CSP that allows exactly this content."""
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _json(data: Mapping[str, Any]) -> str:
    """Return JSON that can stand inside of a script element."""
    content = json.dumps(finite(data), allow_nan=False, separators=(",", ":"))
    return content.replace("<", "\\u003c")


def finite(value: Any) -> Any:
    """Return JSON with null for numbers that are not finite, and with printable texts."""
    if hasattr(value, "_asdict"):
        return finite(value._asdict())
    if isinstance(value, Mapping):
        return {printable(key, MAX_TEXT): finite(item) for key, item in value.items()}
    if isinstance(value, str):
        return value if value.startswith("data:image/") else printable(value, MAX_TEXT)
    if isinstance(value, Sequence):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
