"""What the README says can be typed."""

import re
import shlex
from pathlib import Path

import click
import pytest

from i2i import config, recipes, registry
from i2i.cli import group
from i2i.config import Layer
from i2i.run.settings import resolve

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line.split(" #")[0].strip() for line in README.splitlines() if line.startswith("    i2i ")
]


def parsed(words: list[str]) -> dict[str, object]:
    """Parse a command line as `i2i` would, without running it; return the parameters of its last command."""
    command: click.Command = group
    while isinstance(command, click.Group):
        with click.Context(command) as context:
            found = command.get_command(context, words[0])
        assert found is not None, words[0]
        command, words = found, words[1:]
    return command.make_context("i2i", list(words)).params


@pytest.mark.parametrize("line", COMMANDS)
def test_command_of_the_readme_is_one_that_exists(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "i2i"
    values = parsed(words[1:])
    if words[1] == "train" and values.get("resume") is None:
        layers = [
            Layer("data", {"data": {"root": "x"}}),
            *map(config.parse_override, values["overrides"]),
        ]  # type: ignore[call-overload]
        resolve(words[2], layers)


def test_settings_named_in_the_readme_exist_in_some_method() -> None:
    known = set()
    for method in registry.names("methods"):
        settings = resolve(method, [Layer("data", {"data": {"root": "x"}})]).to_dict()
        known |= {
            f"{section}.{key}"
            for section, values in settings.items()
            if section != "version"
            for key in values
        }
    named = set(
        re.findall(
            r"`((?:data|generator|discriminator|method|optim|train|log)\.[a-z_0-9]+)", README
        )
    )
    assert named
    assert named <= known


def test_install_commands_stand_in_the_readme_as_they_are_run() -> None:
    assert '    pip install -e ".[test]" && pytest -n 2 --dist loadfile\n' in README
    assert "    pip install -e . && i2i demo\n" in README


@pytest.mark.parametrize("name", recipes.recipe_files())
def test_recipe_is_a_short_diff_that_resolves_and_gives_reasons(name: str) -> None:
    path = recipes.recipe_files()[name]
    layer = config.read_yaml(path)
    settings = resolve(
        layer.values["method"]["name"], [Layer("data", {"data": {"root": "x"}}), layer]
    )
    assert settings.method.name == layer.values["method"]["name"]
    assert recipes.title(path)
    assert len(path.read_text("utf-8").splitlines()) < 30


def test_links_between_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
