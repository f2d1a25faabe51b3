"""Components by the names of their files; listing reads the files without importing them."""

import ast
import importlib
import inspect
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from i2i.errors import I2IError

Category = Literal["methods", "generators", "discriminators"]
Preset = dict[str, Any]  # options that a name sets

_PACKAGES: dict[Category, str] = {
    "methods": "methods",
    "generators": "networks.generators",
    "discriminators": "networks.discriminators",
}


class UnknownComponentError(I2IError, ValueError):
    """A name of no file and no preset."""


@dataclass(frozen=True)
class Entry:
    """A component: its class, and the preset of its name (`resnet_6blocks` sets `blocks: 6`)."""

    name: str
    factory: type[Any]
    preset: Preset


def names(category: Category) -> list[str]:
    """Return every name that `find` accepts in `category`, sorted. Imports nothing."""
    return sorted(_sources(category))


def summary(category: Category, name: str) -> str:
    """Return the first line of the docstring of the file that holds `name`. Imports nothing."""
    path = _sources(category)[name][0]
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]


def find(category: Category, name: str) -> Entry:
    """Import and return the component called `name`.

    Raises:
        UnknownComponentError: there is none; the message lists the names there are.
    """
    sources = _sources(category)
    if name not in sources:
        singular = category.removesuffix("s")
        close = get_close_matches(name, sources, 1)
        suggestion = f"Did you mean {close[0]}? " if close else ""
        hint = f"{suggestion}Choose from {', '.join(sorted(sources))}"
        raise UnknownComponentError(f"{singular}.name", f"there is no {singular} {name!r}", hint)
    path, preset = sources[name]
    module = importlib.import_module(f"i2i.{_PACKAGES[category]}.{path.stem}")
    classes = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and key[0] != "_"
    ]
    if len(classes) != 1:
        raise TypeError(f"{path}: defines {len(classes)} public classes; a component file has one")
    return Entry(name, classes[0], dict(preset))


def _sources(category: Category) -> dict[str, tuple[Path, Preset]]:
    """Return file and preset of every name."""
    folder = Path(__file__).parent.joinpath(*_PACKAGES[category].split("."))
    sources: dict[str, tuple[Path, Preset]] = {}
    for path in sorted(folder.glob("[!_]*.py")):
        sources[path.stem] = (path, {})
        sources |= {name: (path, preset) for name, preset in _presets(path).items()}
    return sources


def _presets(path: Path) -> dict[str, Preset]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == "PRESETS":
            presets: dict[str, Preset] = ast.literal_eval(node.value)
            return presets
    return {}
