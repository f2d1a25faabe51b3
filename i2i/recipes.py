"""Published settings as config files: `configs/` next to the package, or of a wheel. No torch."""

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


def recipe_path(name: str) -> Path:
    """Return the file that `--config NAME` means: a path, or a recipe.

    Raises:
        UnknownRecipeError: neither exists; the message lists the recipes.
    """
    if (path := Path(name)).is_file():
        return path
    recipes = recipe_files()
    if name not in recipes:
        hint = f"Recipes: {', '.join(recipes)}"
        raise UnknownRecipeError(f"--config {name}", "no such file, and no recipe", hint)
    return recipes[name]


def title(path: Path) -> str:
    """Return the comment in the first line of a recipe."""
    return path.read_text("utf-8").partition("\n")[0].lstrip("# ")
