"""The files to translate: a file, a folder or a pattern for each input of the model."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from i2i import images
from i2i.data.folders import DataError, scan
from i2i.translation import TranslationError
from i2i.translation.translator import Translator

PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike]  # a sequence: one for each stacked input


class Inputs(NamedTuple):
    """Images below one folder."""

    kind: Literal["file", "folder", "glob"]
    root: Path
    relatives: list[str]  # paths below `root`
    ignored: int  # files that are not images


def find_inputs(source: Source, translator: Translator) -> list[Inputs]:
    """Return the images of each input of the model; the first gives outputs their names.

    Raises:
        TranslationError: there is none, or the model stacks another number of inputs.
    """
    names = [one.name for one in translator.source.inputs]
    flags = " ".join(f"--input {name.upper()}" for name in names)
    if isinstance(source, str | os.PathLike):
        if len(names) > 1:
            hint = f"Use `i2i translate MODEL OUTPUT {flags}`"
            raise TranslationError("input", f"this model stacks {len(names)} inputs, got 1", hint)
        return [_find(source)]
    if len(names) == 1:
        hint = "Use `i2i translate MODEL INPUT OUTPUT`"
        raise TranslationError("--input", "this model takes one input", hint)
    if len(source) != len(names):
        reason = f"this model stacks {len(names)} inputs, got {len(source)}"
        raise TranslationError("--input", reason, f"Pass, in this order: {flags}")
    check_order(source, names)
    inputs = [_find(one) for one in source]
    if {one.kind for one in inputs} not in ({"folder"}, {"file"}):
        hint = "Give a folder for each input, or a file for each"
        raise TranslationError(
            "--input", "patterns, and files with folders, cannot be stacked", hint
        )
    return inputs


def check_order(paths: Sequence[PathLike], names: Sequence[str]) -> list[str]:
    """Return a note where paths do not say which input they are; `names` are those of training.

    Raises:
        TranslationError: one is given twice, or is called as another input of the model.
    """
    hint = "Pass, in this order: " + " ".join(f"--input {name.upper()}" for name in names)
    real = [Path(path).resolve() for path in paths]
    unnamed, folded = [], {name.casefold(): name for name in names}
    for index, (path, name) in enumerate(zip(paths, names, strict=True)):
        if real[index] in real[:index]:
            raise TranslationError(path, "given for two inputs of the model", hint)
        parts = [part.casefold() for part in Path(path).with_suffix("").parts]
        called = [folded[part] for part in parts if part in folded]
        if not called:
            unnamed.append(f"{path} for {name}")
        elif called[-1] != name:
            reason = f"called as the input {called[-1]} of the model, and given as {name}"
            raise TranslationError(path, reason, hint)
    return [f"taken by their order: {', '.join(unnamed)}"] if unnamed else []


def _find(source: PathLike) -> Inputs:
    path = Path(source)
    hint = f"Accepted: {', '.join(sorted(images.EXTENSIONS))}"
    if path.is_dir():
        try:
            listing = scan(path)
        except DataError as error:
            raise TranslationError(path, error.reason, error.hint) from None
        start = len(path.as_posix()) + 1
        inputs = Inputs("folder", path, [image[start:] for image in listing.images], listing.others)
    elif path.exists():
        if path.suffix.lower() not in images.EXTENSIONS:
            raise TranslationError(path, "not an image", hint)
        return Inputs("file", path.parent, [path.name], 0)
    elif any(mark in str(source) for mark in "*?["):
        inputs = _match(path)
    else:
        raise TranslationError(source, "no such file or folder")
    if not inputs.relatives:
        others = f" ({inputs.ignored} other files)" if inputs.ignored else ""
        raise TranslationError(source, f"no images{others}", hint)
    return inputs


def _match(pattern: Path) -> Inputs:
    parts = pattern.parts
    fixed = [any(mark in part for mark in "*?[") for part in parts].index(True)
    root = Path(*parts[:fixed])
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 - Path.glob finds hidden names
    files = [Path(name) for name in sorted(names) if Path(name).is_file()]
    pictures = [file for file in files if file.suffix.lower() in images.EXTENSIONS]
    relatives = [os.path.relpath(file, root) for file in pictures]
    if any(relative.startswith(os.pardir) for relative in relatives):
        reason = f"leads out of {root}, and outputs would leave their folder"
        raise TranslationError(pattern, reason, "Drop the ..")
    return Inputs("glob", root, relatives, len(files) - len(pictures))
