"""Where the recipes are: `configs/` beside the package, or where an installed wheel puts them. No torch."""

import sysconfig
from pathlib import Path

from i2i.errors import I2IError


class UnknownRecipeError(I2IError, ValueError):
    """Neither a file nor a recipe."""


def recipe_files() -> dict[str, Path]:
    """Return the recipes by name."""
    beside = Path(__file__).resolve().parent.parent / "configs"
    folder = (
        beside if beside.is_dir() else Path(sysconfig.get_path("data"), "share", "i2i", "configs")
    )
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def recipe_path(name: str) -> Path:
    """Return the file that `--config NAME` means: a path, or a recipe.

    Raises:
        UnknownRecipeError: neither exists; the message lists the recipes.
    """
    if (path := Path(name)).is_file():
        return path
    recipes = recipe_files()
    if name not in recipes:
        known = ", ".join(recipes)
        raise UnknownRecipeError(
            f"--config {name}: no such file, and no recipe of that name. Recipes: {known}."
        )
    return recipes[name]


def title(path: Path) -> str:
    """Return the comment in the first line of a recipe."""
    return path.read_text("utf-8").split("\n", 1)[0].lstrip("# ")
