"""The architecture is what `docs/design.md` says: who may import whom, how long a file and a function may be."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from models import write_model, write_pictures

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "i2i"
FILES = sorted(PACKAGE.rglob("*.py"))

# Rooms from the ground up: a room may import the ground floor, and of the others only these.
GROUND = {
    "errors",
    "options",
    "direction",
    "files",
    "signals",
    "console",
    "config",
    "registry",
    "recipes",
    "seeds",
    "lock",
    "model_path",
    "memory",
    "precision",
}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": {"translation"},
    "__main__": {"cli"},
    "images": set(),
    "model_file": {"images", "networks"},
    "checkpoint": {"model_file"},
    "scenes": {"images"},
    "data": {"images"},
    "networks": set(),
    "losses": set(),
    "methods": {"networks", "losses", "images"},
    "trackers": set(),
    "training": {"images", "checkpoint", "methods._base", "execution", "trackers"},
    "report": {"images", "evaluation.metric"},
    "translation": {"images", "model_file", "data", "networks", "execution"},
    "execution": {"networks"},
    "evaluation": {"images", "data", "translation"},
    "compat": {"networks", "model_file"},
    "run": {
        "images",
        "model_file",
        "checkpoint",
        "scenes",
        "data",
        "networks",
        "execution",
        "losses",
        "methods",
        "trackers",
        "training",
        "report",
        "translation",
        "evaluation",
    },
    "bench": {
        "execution",
        "model_file",
        "data",
        "networks",
        "methods",
        "training",
        "translation",
        "run",
    },
    "cli": {"*"},
}


# Lines of each room, blank ones counted: raise a budget in the commit that needs it, with the reason in its message.
BUDGETS = {
    "ground floor": 1610,
    "checkpoint and model_file": 720,
    "images": 6400,
    "scenes": 840,
    "data": 4435,
    "networks": 1790,
    "losses": 240,
    "methods": 1110,
    "trackers": 195,
    "training": 2530,
    "report": 920,
    "execution": 320,
    "evaluation": 3520,
    "translation": 4405,
    "compat": 505,
    "config": 860,
    "run": 3210,
    "bench": 1310,
    "cli": 1810,
}


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Dotted names below `i2i` that the file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (
                name.name.removeprefix("i2i.")
                for name in node.names
                if name.name.startswith("i2i.")
            )
        elif isinstance(node, ast.ImportFrom) and node.module == "i2i":
            yield from (name.name for name in node.names if not name.name.startswith("__"))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("i2i."):
            yield node.module.removeprefix("i2i.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_imports_only_what_its_room_may(path: Path) -> None:
    own = room(path)
    allowed = GROUND if own in GROUND else GROUND | MAY_IMPORT[own]
    for name in imports(path):
        fits = name.split(".")[0] == own or any(f"{name}.".startswith(f"{a}.") for a in allowed)
        assert fits or "*" in allowed, f"{own} must not import i2i.{name}"


def test_room_keeps_to_its_budget() -> None:
    lines: Counter[str] = Counter()
    for path in FILES:
        own = room(path)
        name = "checkpoint and model_file" if own in ("checkpoint", "model_file") else own
        ground = own in GROUND - {"config"} or own.startswith("__")
        lines["ground floor" if ground else name] += len(path.read_text("utf-8").splitlines())
    assert lines.keys() == BUDGETS.keys()
    assert {name: n for name, n in lines.items() if n > BUDGETS[name]} == {}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_file_and_its_functions_are_short_and_begin_with_a_sentence(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert len(text.splitlines()) <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
    if text.strip():
        assert (ast.get_docstring(tree) or "").split("\n")[0].strip(), "no sentence at the top"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["train", "pix2pix", "--help"], ["list"]]
)
def test_help_and_list_import_no_heavy_library(arguments: list[str]) -> None:
    code = (
        "import sys; from i2i.cli import main\n"
        f"sys.argv = ['i2i', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'torchvision', 'albumentations', 'kornia', 'cv2', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_test_names_are_sentences() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name.count("_") >= 3, (
                    f"{path.name}: {node.name} does not say what should happen"
                )


def test_translating_and_training_import_nothing_that_they_do_not_use(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", "resnet")
    picture = write_pictures(tmp_path / "pairs", 1, side=48) / "000.png"
    small = [f"data.{key}" for key in ("load_size=48", "crop_size=32", "workers=0")]
    small += ["generator.name=unet", "generator.depth=4", "generator.width=2", "data.layout=ab"]
    settings = [word for setting in small for word in ("--set", setting)]
    code = (
        "import sys; from i2i.cli import main\n"
        "def imported(*arguments):\n"
        "    sys.argv = ['i2i', *arguments]\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, end.code\n"
        "    return {name.rpartition('.')[2] for name in sys.modules if name.count('.') < 2}\n"
        f"unused = {{'albumentations', 'tensorboard', 'scipy', 'cv2'}} & imported('translate', {str(model)!r}, {str(picture)!r}, 'out.png')\n"
        "assert not unused, unused\n"
        f"unused = imported('train', 'pix2pix', '--data', 'pairs', '--images', '1', '--out', 'run', *{settings!r})\n"
        "unused &= {'_dynamo', 'sympy', 'triton', 'kornia', 'torchvision'}\n"
        "assert not unused, unused"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
