"""Trees of files with names of every kind, read as data sets."""

import io
import json
import os
from collections import Counter
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from fuzzing import attacked, new_folder, outcome
from i2i.data.check import check_folder
from i2i.data.folders import (
    SPLITS,
    DataError,
    domain_folders,
    find_pairs,
    list_split,
    match,
    scan,
)
from i2i.data.pairing import normal

_NAMES = [
    "train", "Test", "val", "TRAIN", "a", "b", "A", "B", "trainA", "trainB", "train_a", "train-b", "testA", "test_b",
    "x", "X", "x.y", "x.y.z", "é", "e\u0301", "日本", ".hidden", " ", "-", "~", "[1]", "new\nline", "\udcff", "a.png",
]  # fmt: skip
_SUFFIXES = [".png", ".PNG", ".jpeg", ".tar.png", ".txt", "", ".", ".webp"]


@cache
def _small_png(value: int) -> bytes:
    memory = io.BytesIO()
    Image.fromarray(np.arange(value, value + 12, dtype=np.uint8).reshape(2, 6)).save(memory, "PNG")
    return memory.getvalue()


_Entry = tuple[list[str], str, str, Any]  # folders, stem, suffix, kind
_FORMS = [
    "train/a train/b",
    "trainA trainB",
    "Test_A test_b",
    "a b",
    "A B",
    "a/train b/train",
    "train train",
    ". .",
]


@st.composite
def _trees(draw: st.DrawFn) -> list[_Entry]:
    """Two folders of images whose names meet now and then, or none; and anything anywhere."""
    name, kind = (
        st.sampled_from(_NAMES),
        st.sampled_from([0, 1, 2, "link", "folder", "pipe", "empty"]),
    )
    tree: list[_Entry] = []
    if draw(st.booleans()):
        for folder in draw(st.sampled_from(_FORMS)).split():
            inside = draw(
                st.lists(
                    st.sampled_from(["x", "x.y", "é", "e\u0301", "日本", "\udcff", "X"]), max_size=5
                )
            )
            tree += [
                (folder.split("/"), stem, draw(st.sampled_from(_SUFFIXES[:4])), 0)
                for stem in inside
            ]
    return tree + draw(
        st.lists(
            st.tuples(st.lists(name, max_size=3), name, st.sampled_from(_SUFFIXES), kind),
            max_size=8,
        )
    )


def _grow(root: Path, tree: list[_Entry]) -> None:
    made: list[Path] = [root]
    for place, (folders, stem, suffix, kind) in enumerate(tree):
        path = root.joinpath(*folders, stem + suffix)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == "link":
                path.symlink_to(made[place % len(made)] if place % 3 else root / "nowhere")
            elif kind == "folder":
                path.mkdir(exist_ok=True)
            elif kind == "pipe":
                os.mkfifo(path)
            elif not path.exists() and not path.is_symlink():
                path.write_bytes(b"" if kind == "empty" else _small_png(kind))
        except OSError:  # a file where a folder should be
            continue
        made.append(path)


@attacked(tree=_trees, split=lambda: st.sampled_from([*SPLITS, "other"]), allowed=st.booleans)
def every_image_of_a_tree_is_accounted_for(tree: list[Any], split: str, allowed: bool) -> None:
    with new_folder() as base:
        root = base / "root"
        root.mkdir()
        _grow(root, tree)
        for layout in ("auto", "ab", "ba", "folders"):
            pairs, _ = outcome(partial(find_pairs, root, split, layout, (), allowed), DataError)
            if pairs is not None:
                assert pairs.files[0]
                assert allowed or not pairs.unmatched
        for each in SPLITS:
            _account(root, each)
        for kind in ("unpaired", "unconditional"):
            listings, _ = outcome(partial(list_split, root, split, kind), DataError)
            assert listings is None or all(listing.files[0] for listing in listings)
        report, _ = outcome(partial(check_folder, root), DataError)
        if report is not None:
            json.loads(report.to_json())
            named = {
                file
                for issue in report.issues
                if issue.name != "other file"
                for file in issue.files
            }
            # by what they are: a link in a split leads back to the folder above it, and gives its
            # images a second name
            images = {os.path.realpath(path) for path in scan(root).images}
            assert {os.path.realpath(root / file) for file in named | set(report.clean)} <= images


def _account(root: Path, split: str) -> None:
    """Pairs, files without a partner and files of one stem are together all images of the two folders, each of them once."""
    folders, _ = outcome(partial(domain_folders, root, split), DataError)
    if folders is None:
        return
    matched, _ = outcome(partial(match, folders), DataError)
    if matched is None:
        return
    paired = [file for column in matched.files for file in column]
    later = [file for _, file in matched.same_stem]
    images = [file for folder in folders for file in scan(*folder).images]
    assert Counter([*paired, *matched.unmatched, *later]) == Counter(images)
    for row in zip(*matched.files, strict=True):
        relatives = [os.path.relpath(path, f.path) for path, f in zip(row, folders, strict=True)]
        stems = {normal(relative.rpartition(".")[0]) for relative in relatives}
        assert len(stems) == 1
