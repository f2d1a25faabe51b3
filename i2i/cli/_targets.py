"""Where the results of a command may go: asked before any work, so that nothing is overwritten and no work is lost."""

import os
from collections.abc import Collection
from pathlib import Path

import click


def check_file(
    path: Path, suffixes: Collection[str] = (), overwrite: bool = False, make_folder: bool = False
) -> None:
    """Refuse a file that is there already, is a link, or could not be written.

    Args:
        suffixes: one of which its name must have; none: any.
        overwrite: True: it may be there.
        make_folder: True: the folders above it are made.

    Raises:
        click.UsageError: with what to do.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise click.UsageError(f"{path}: must end in {', '.join(sorted(suffixes))}")
    if path.is_symlink():
        raise click.UsageError(
            f"{path}: a symbolic link (to {path.resolve()}); name that, or remove the link"
        )
    if path.exists() and (not overwrite or not path.is_file()):
        raise click.UsageError(f"{path} exists; choose another name, or remove it first")
    _check_folder(path.parent, make_folder)


def check_new_folder(path: Path) -> None:
    """Refuse a folder that is a link, a file, holds something, or could not be made or written.

    Raises:
        click.UsageError: with what to do.
    """
    if path.is_symlink():
        raise click.UsageError(
            f"{path}: a symbolic link (to {path.resolve()}); name that, or remove the link"
        )
    _check_folder(path, make=True)
    if path.exists() and any(path.iterdir()):
        raise click.UsageError(f"{path}: exists and is not empty; choose another folder")


def _check_folder(folder: Path, make: bool) -> None:
    place = next(place for place in (folder, *folder.parents) if place.exists())
    if place != folder and not make:
        raise click.UsageError(f"{folder}: no such folder; make it first")
    if not place.is_dir():
        raise click.UsageError(f"{place}: a file, not a folder; choose another place")
    if not os.access(place, os.W_OK | os.X_OK):
        raise click.UsageError(
            f"{place}: cannot be written (permission denied); choose another place"
        )
