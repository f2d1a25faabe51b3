"""What there is to translate: files, folders and patterns, one for each input of the model. Nothing is opened here."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from i2i import images
from i2i.data.folders import DataError, scan
from i2i.translation import TranslationError
from i2i.translation.translator import Translator

Source = (
    str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
)  # a sequence: one for each stacked input


class Inputs(NamedTuple):
    """Images below one folder."""

    kind: Literal["file", "folder", "glob"]
    root: Path
    relatives: list[str]  # paths below `root`
    ignored: int  # files that are not images


def find_inputs(source: Source, translator: Translator) -> list[Inputs]:
    """Return what each input of the model stands for; the first gives outputs their names.

    Raises:
        TranslationError: there is none, or the model stacks another number of inputs.
    """
    names = [one.name for one in translator.source.inputs]
    asked = " ".join(f"--input {name.upper()}" for name in names)
    if isinstance(source, str | os.PathLike):
        if len(names) > 1:
            raise TranslationError(
                f"this model stacks {len(names)} inputs (use `i2i translate MODEL OUTPUT {asked}`)"
            )
        return [_find(source)]
    if len(names) == 1:
        raise TranslationError(
            "this model takes one input (use `i2i translate MODEL INPUT OUTPUT`, without --input)"
        )
    if len(source) != len(names):
        raise TranslationError(
            f"this model stacks {len(names)} inputs, not {len(source)} (in this order: {asked})"
        )
    found = [_find(one) for one in source]
    if {one.kind for one in found} not in ({"folder"}, {"file"}):
        raise TranslationError(
            "--input: give a folder for each input, or a file for each (globs have no stems)"
        )
    return found


def _find(source: str | os.PathLike[str]) -> Inputs:
    path = Path(source)
    if path.is_dir():
        try:
            found = scan(path)
        except DataError as error:
            raise TranslationError(error.explanation) from None
        start = len(path.as_posix()) + 1
        inputs = Inputs("folder", path, [image[start:] for image in found.images], found.others)
    elif path.exists():
        if path.suffix.lower() not in images.EXTENSIONS:
            raise TranslationError(
                f"{path}: not an image (known: {', '.join(sorted(images.EXTENSIONS))})"
            )
        return Inputs("file", path.parent, [path.name], 0)
    elif any(mark in str(source) for mark in "*?["):
        inputs = _match(path)
    else:
        raise TranslationError(f"{source}: no such file or folder")
    if not inputs.relatives:
        others = f"; {inputs.ignored} other files" if inputs.ignored else ""
        known = ", ".join(sorted(images.EXTENSIONS))
        raise TranslationError(f"{source}: no images{others} (known: {known})")
    return inputs


def _match(pattern: Path) -> Inputs:
    parts = pattern.parts
    fixed = next(place for place, part in enumerate(parts) if any(mark in part for mark in "*?["))
    root = Path(*parts[:fixed])
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 - unlike Path.glob it passes hidden names over
    files = [Path(name) for name in sorted(names) if Path(name).is_file()]
    found = [file for file in files if file.suffix.lower() in images.EXTENSIONS]
    relatives = [os.path.relpath(file, root) for file in found]
    if any(relative.startswith(os.pardir) for relative in relatives):
        raise TranslationError(
            f"{pattern}: leads out of {root}, and outputs would leave their folder (drop the ..)"
        )
    return Inputs("glob", root, relatives, len(files) - len(found))
