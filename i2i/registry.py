"""Finds a component by the name of its file; listing reads the files without importing them."""

import ast
import importlib
import inspect
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from i2i.errors import I2IError

Room = Literal["methods", "generators", "discriminators"]

_PACKAGES: dict[Room, str] = {
    "methods": "methods",
    "generators": "networks.generators",
    "discriminators": "networks.discriminators",
}


class UnknownComponentError(I2IError, ValueError):
    """A name that no file and no preset of a room carries."""


@dataclass(frozen=True)
class Found:
    """A component: its class, and the options that its name presets (`resnet_6blocks` sets `blocks: 6`)."""

    name: str
    factory: type[Any]
    preset: dict[str, Any]


def names(room: Room) -> list[str]:
    """Return every name that `find` accepts in `room`, sorted. Imports nothing."""
    return sorted(_sources(room))


def summary(room: Room, name: str) -> str:
    """Return the first line of the docstring of the file that holds `name`. Imports nothing."""
    path = _sources(room)[name][0]
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n", 1)[0]


def find(room: Room, name: str) -> Found:
    """Import and return the component called `name`.

    Raises:
        UnknownComponentError: no such name; the message lists the known ones.
    """
    sources = _sources(room)
    if name not in sources:
        close = get_close_matches(name, sources, 1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise UnknownComponentError(
            f"{room[:-1]}.name: there is no {room[:-1]} called {name!r}.{hint} Known: {', '.join(sorted(sources))}."
        )
    path, preset = sources[name]
    module = importlib.import_module(f"i2i.{_PACKAGES[room]}.{path.stem}")
    public = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and not key.startswith("_")
    ]
    if len(public) != 1:
        raise TypeError(
            f"{path}: a component file defines exactly one public class, this one has {len(public)}"
        )
    return Found(name, public[0], dict(preset))


def _sources(room: Room) -> dict[str, tuple[Path, dict[str, Any]]]:
    folder = Path(__file__).parent.joinpath(*_PACKAGES[room].split("."))
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(folder.glob("[!_]*.py")):
        found[path.stem] = (path, {})
        found |= {name: (path, preset) for name, preset in _presets(path).items()}
    return found


def _presets(path: Path) -> dict[str, dict[str, Any]]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == "PRESETS":
            presets: dict[str, dict[str, Any]] = ast.literal_eval(node.value)
            return presets
    return {}
