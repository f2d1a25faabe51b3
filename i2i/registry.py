"""Components by the names of their files; listing reads the files without importing them."""

import ast
import functools
import importlib
import inspect
import os
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


class ComponentError(I2IError, ValueError):
    """A component file that cannot be used, or a folder in I2I_PLUGINS that does not exist."""


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
    return (ast.get_docstring(_parse(path)) or "").partition("\n")[0]


def find(category: Category, name: str) -> Entry:
    """Import and return the component called `name`.

    Raises:
        UnknownComponentError: there is none; the message lists the names there are.
        ComponentError: its file does not define exactly one public class.
    """
    sources = _sources(category)
    if name not in sources:
        singular = category.removesuffix("s")
        close = get_close_matches(name, sources, 1)
        suggestion = f"Did you mean {close[0]}? " if close else ""
        hint = f"{suggestion}Choose from {', '.join(sorted(sources))}"
        raise UnknownComponentError(f"{singular}.name", f"there is no {singular} {name!r}", hint)
    path, preset = sources[name]
    package = importlib.import_module(f"i2i.{_PACKAGES[category]}")
    if str(path.parent) not in package.__path__:
        package.__path__.append(str(path.parent))  # of I2I_PLUGINS
    try:
        module = importlib.import_module(f"{package.__name__}.{path.stem}")
    except Exception as error:  # of a file in I2I_PLUGINS
        reason = f"cannot be imported ({type(error).__name__}: {error})"
        raise ComponentError(path, reason, "Correct it") from error
    classes = [
        value
        for key, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__ and key[0] != "_"
    ]
    if len(classes) != 1:
        raise ComponentError(path, f"defines {len(classes)} public classes", "Define exactly one")
    return Entry(name, classes[0], dict(preset))


def _sources(category: Category) -> dict[str, tuple[Path, Preset]]:
    """Return file and preset of every name, of this package and of the folders in I2I_PLUGINS."""
    folders = [Path(__file__).parent.joinpath(*_PACKAGES[category].split("."))]
    for root in filter(None, os.environ.get("I2I_PLUGINS", "").split(os.pathsep)):
        if not Path(root).is_dir():
            raise ComponentError("I2I_PLUGINS", f"{root} is not a folder", "Correct or unset it")
        folders.append(Path(root) / category)
    sources: dict[str, tuple[Path, Preset]] = {}
    for folder in folders:
        for path in sorted(folder.glob("[!_]*.py")):
            entries: dict[str, Preset] = {path.stem: {}} | _presets(path)
            for name, preset in entries.items():
                if name in sources:
                    reason = f"{name} is also a name in {sources[name][0]}"
                    raise ComponentError(path, reason, "Rename one")
                sources[name] = (path, preset)
    return sources


def _parse(path: Path) -> ast.Module:
    try:
        return _tree(path.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ComponentError(path, f"not readable as Python ({error})", "Correct it") from None


@functools.cache  # by content: to resolve settings, every file is asked some thirty times
def _tree(source: str) -> ast.Module:
    return ast.parse(source)


def _presets(path: Path) -> dict[str, Preset]:
    tree = _parse(path)
    try:
        return _literals(tree)
    except ValueError:
        raise ComponentError(path, "PRESETS is no literal", "Write values only") from None


@functools.cache
def _literals(tree: ast.Module) -> dict[str, Preset]:
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value and ast.unparse(node.target) == "PRESETS":
            presets: dict[str, Preset] = ast.literal_eval(node.value)
            return presets
    return {}
