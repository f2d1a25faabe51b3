"""Help, completion and exit codes of the command line."""

import importlib
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import i2i
from i2i.cli import group
from i2i.errors import I2IError


def run(*arguments: str, columns: int = 80) -> Result:
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(group, arguments)


def commands(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Words of every command and group."""
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from commands(child, (*words, name))


@pytest.mark.parametrize("words", [(), ("data",), ("train",)], ids=" ".join)
def test_summaries_of_commands_are_not_cut_off(words: tuple[str, ...]) -> None:
    text = run(*words, "--help").output.partition("Commands:")[2]
    assert text
    assert "..." not in text
    assert "…" not in text
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize("words", list(commands(group)), ids=" ".join)
def test_every_argument_and_option_is_explained(words: tuple[str, ...]) -> None:
    command: click.Command = group
    for word in words:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), word) or group
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, option.name
            assert not re.match(r"(Of|What|Whether|How) ", option.help), option.help


def test_wrong_number_of_arguments_names_the_form_and_the_count() -> None:
    assert "expected MODEL INPUT OUTPUT, got 1 argument." in run("translate", "m").output
    assert "expected MODEL INPUT OUTPUT, got 4 arguments." in run("translate", *"mabc").output
    stacked = run("translate", "m", "a", "b", "--input", "c")
    assert "expected MODEL OUTPUT --input PATH --input PATH, got 3 arguments." in stacked.output
    assert stacked.exit_code == 2


def test_old_name_of_the_value_range_works_names_the_new_one_and_is_not_in_the_help(
    tmp_path: Path,
) -> None:
    assert "--range" not in run("data", "check", "--help").output
    for flag in ("--range", "--value-range"):
        result = run("data", "check", str(tmp_path), flag, "1", "0")
        assert result.exit_code == 2
        assert "--value-range: LOW must be below HIGH" in result.output
        assert ("note: --range is called --value-range now" in result.output) == (flag == "--range")


@pytest.mark.parametrize(
    ("shell", "line", "expected"),
    [
        ("bash", "i2i ", {"plain,train", "plain,translate", "plain,import", "plain,data"}),
        ("bash", "i2i data ", {"plain,check", "plain,synth", "plain,unpack"}),
        ("zsh", "i2i trans", {"plain", "translate"}),
    ],
)
def test_shell_completes_the_names_of_commands(shell: str, line: str, expected: set[str]) -> None:
    code = "import sys; from i2i.cli import main; sys.argv = ['i2i']; main()"
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    env = os.environ | words | {"_I2I_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env
    )
    assert expected <= set(done.stdout.splitlines()), done


def subclasses(kind: type[I2IError]) -> Iterator[type[I2IError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def test_help_explains_the_exit_code_of_every_error() -> None:
    for module in pkgutil.walk_packages(i2i.__path__, "i2i."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    explained = re.findall(r"^ +(\d[\d, ]*\b)  ", run("--help").output, re.MULTILINE)
    assert explained == ["0", "1", "2", "3", "4", "129, 130, 143"]
    codes = {kind.exit_code for kind in subclasses(I2IError)}
    assert codes == {2, 3, 4}
