"""Settings as config files: `configs/` next to the package, or of a wheel. No torch.

Recipes have the published settings of a method, or, as `best_*.yaml`, those that measured best.
"""

import sysconfig
from pathlib import Path

from i2i.errors import I2IError


class UnknownRecipeError(I2IError, ValueError):
    """Neither a file nor the name of a recipe."""


def recipe_files() -> dict[str, Path]:
    """Return the recipes by name."""
    folder = Path(__file__).resolve().parent.parent / "configs"
    if not folder.is_dir():
        folder = Path(sysconfig.get_path("data"), "share", "i2i", "configs")
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipe_path(name: str, method: str | None = None) -> Path:
    """Return the file that `--config NAME` means: a path, or a recipe; best: that of `method`.

    Raises:
        UnknownRecipeError: neither exists; the message lists the recipes.
        ConfigError: one of the best recipes cannot be read.
    """
    if (path := Path(name)).is_file():
        return path
    recipes = recipe_files()
    if name == "best":
        return _best_recipe(method)
    if name not in recipes:
        hint = f"Recipes: {', '.join(recipes)}"
        raise UnknownRecipeError(f"--config {name}", "no such file, and no recipe", hint)
    return recipes[name]


def _best_recipe(method: str | None) -> Path:
    """Return the one of the recipes `best_*.yaml` that names `method`."""
    from i2i.config import read_yaml  # loads pydantic

    paths = [path for name, path in recipe_files().items() if name.startswith("best_")]
    methods = {read_yaml(path).values["method"]["name"]: path for path in paths}
    if method in methods:
        return methods[method]
    reason = f"there is no best recipe for {method}" if method else "it is that of a method"
    recipes = ", ".join(f"{path.stem} for {name}" for name, path in methods.items())
    raise UnknownRecipeError("--config best", reason, f"With `i2i train METHOD`: {recipes}")


def title(path: Path) -> str:
    """Return the comment in the first line of a recipe."""
    return path.read_text("utf-8").partition("\n")[0].lstrip("# ")
