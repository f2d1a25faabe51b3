"""Layouts on disk, matching by stem, and what is refused."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from i2i.data.folders import (
    DataError,
    Folder,
    find_images,
    find_pairs,
    list_split,
    match,
    scan,
)
from i2i.data.walk import describe_suffixes


def relative(root: Path, paths: Sequence[str]) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in paths]


def stems(root: Path, *arguments: Any, **settings: Any) -> list[str]:
    return [Path(path).stem for path in find_pairs(root, *arguments, **settings).files[0]]


def unpaired(root: Path, split: str = "train") -> list[Sequence[str]]:
    return [listing.files[0] for listing in list_split(root, split, "unpaired")]


def test_images_are_found_recursively_in_the_order_of_their_relative_paths(
    touch: Callable[..., Path],
) -> None:
    root = touch("b.png", "a/z.JPG", "a-b/c.webp", "a/b/c.tiff", "a.bmp")
    assert relative(root, find_images(root)) == [
        "a-b/c.webp",
        "a.bmp",
        "a/b/c.tiff",
        "a/z.JPG",
        "b.png",
    ]


def test_hidden_and_other_files_are_ignored(touch: Callable[..., Path]) -> None:
    root = touch(
        "1.png", ".2.png", ".ipynb_checkpoints/3.png", "notes.txt", "Thumbs.db", "png", "4.png.part"
    )
    assert relative(root, find_images(root)) == ["1.png"]


def test_links_are_followed_to_each_folder_once(
    touch: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, elsewhere = touch("x/1.png"), tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "2.png").touch()
    (root / "x" / "loop").symlink_to(root)
    (root / "one").symlink_to(elsewhere)
    (root / "two").symlink_to(elsewhere)
    listing = scan(root)
    assert relative(root, listing.images) == ["one/2.png", "x/1.png"]
    assert relative(root, list(listing.repeated)) == ["two", "x/loop"]


def test_folder_is_read_under_its_own_name_where_a_link_leads_to_it_too(
    touch: Callable[..., Path],
) -> None:
    root = touch("y/1.png")
    (root / "a").symlink_to(root / "y")
    assert relative(root, find_images(root)) == ["y/1.png"]


def test_link_to_itself_is_a_file_like_any_other(touch: Callable[..., Path]) -> None:
    root = touch("1.png")
    for name in ("loop", "self.png"):
        (root / name).symlink_to(root / name)
    listing = scan(root)
    assert relative(root, listing.images) == ["1.png", "self.png"]  # reading it is refused by name
    assert listing.suffixes == {"": 1}


def test_links_that_multiply_end_in_bounded_time(touch: Callable[..., Path]) -> None:
    root = touch("0/1.png")
    for depth in range(1, 40):  # 2 ** 39 paths lead to the image
        (root / str(depth)).mkdir()
        for name in ("x", "y"):
            (root / str(depth) / name).symlink_to(root / str(depth - 1))
    assert relative(root, find_images(root)) == ["0/1.png"]
    assert len(find_images(root / "39")) == 1


def test_every_subfolder_that_cannot_be_read_is_named(
    touch: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, scandir = touch("x/1.png", "y/2.png", "3.png"), os.scandir

    def refuse(path: str) -> Any:
        if Path(path) != root:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"x cannot be read \(Permission.*y cannot be read"):
        find_images(root)


def test_other_files_are_counted_by_suffix(touch: Callable[..., Path]) -> None:
    root = touch("1.png", "a.HEIC", "x/b.heic", "x/c.txt", "Makefile")
    listing = scan(root)
    assert (listing.others, listing.suffixes) == (4, {".heic": 2, ".txt": 1, "": 1})
    assert describe_suffixes(listing.suffixes, 2) == ".heic (2), no suffix (1), …"


def test_folder_without_images_names_what_was_ignored(touch: Callable[..., Path]) -> None:
    root = touch("scan.heic", "array.npz")
    with pytest.raises(
        DataError, match=r"has no images among 2 other files \(first: .*array.npz\)"
    ):
        find_images(root)


def test_missing_root_and_file_as_root_are_refused(touch: Callable[..., Path]) -> None:
    root = touch("1.png")
    with pytest.raises(DataError, match=r"data.root: .*nowhere does not exist"):
        find_images(root / "nowhere")
    with pytest.raises(DataError, match=r"data.root: .*1.png is a file. Pass the folder"):
        find_images(root / "1.png")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("a", "b"), ("A", "B"), ("train/a", "train/b"), ("train/A", "train/B"), ("trainA", "trainB"),
        ("train_A", "train_B"), ("traina", "trainb"), ("train-a", "train-b"), ("a/train", "b/train"),
        ("A/train", "B/train"),
    ],
)  # fmt: skip
def test_every_layout_of_two_folders_is_read(touch: Callable[..., Path], a: str, b: str) -> None:
    root = touch(f"{a}/1.png", f"{a}/2.jpg", f"{b}/1.webp", f"{b}/2.png")
    expected = [
        [f"{root}/{a}/1.png", f"{root}/{a}/2.jpg"],
        [f"{root}/{b}/1.webp", f"{root}/{b}/2.png"],
    ]
    assert find_pairs(root)[:6] == (("a", "b"), expected, "folders", [], [], "")
    assert unpaired(root) == expected


@pytest.mark.parametrize("split", ["train", "test", "val"])
@pytest.mark.parametrize(
    "form", ["{split}/{domain}", "{split}{domain}", "{split}_{domain}", "{domain}/{split}"]
)
def test_splits_do_not_mix(touch: Callable[..., Path], form: str, split: str) -> None:
    names = [
        f"{form.format(split=s, domain=d)}/{s}.png" for s in ("train", "test", "val") for d in "AB"
    ]
    root = touch(*names)
    assert stems(root, split) == [split]


@pytest.mark.parametrize(
    ("folder", "layout"), [("train", "auto"), (".", "auto"), (".", "ab"), ("train", "ba")]
)
def test_side_by_side_images_are_read(touch: Callable[..., Path], folder: str, layout: str) -> None:
    root = touch(f"{folder}/1.jpg", f"{folder}/2.png", "test/3.jpg")
    files = [(root / folder / name).as_posix() for name in ("1.jpg", "2.png")]
    side = "ba" if layout == "ba" else "ab"
    assert find_pairs(root, layout=layout)[:3] == (("a",), [files], side)  # type: ignore[arg-type]
    assert stems(root, "test", layout) == ["3"]


def test_flat_domains_leave_held_out_subfolders_out(touch: Callable[..., Path]) -> None:
    root = touch("a/1.png", "b/1.png", "a/test/2.png", "b/test/2.png")
    assert stems(root) == ["1"]
    assert stems(root, "test") == ["2"]


def test_subfolders_are_part_of_the_stem_and_formats_may_differ(touch: Callable[..., Path]) -> None:
    root = touch("a/x/1.png", "a/y/1.bmp", "b/x/1.tif", "b/y/1.jpeg")
    assert [
        (Path(a).suffix, Path(b).suffix) for a, b in zip(*find_pairs(root).files, strict=True)
    ] == [
        (".png", ".tif"),
        (".bmp", ".jpeg"),
    ]


def test_unmatched_files_are_counted_and_named(touch: Callable[..., Path]) -> None:
    root = touch("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/9.png")
    with pytest.raises(DataError) as caught:
        find_pairs(root)
    assert str(caught.value) == (
        f"data.root: {root}/a has no partner for 1 of 4 images (first: 9); "
        f"{root}/b has no partner for 2 of 4 images (first: 2, 3). Add them, or pass --allow-unmatched."
    )
    assert stems(root, allow_unmatched=True) == ["1"]
    matched = match([Folder(root / "a"), Folder(root / "b")])
    assert [Path(path).stem for path in matched.unmatched] == ["2", "3", "9"]


def test_folders_without_a_common_stem_are_refused_even_where_unmatched_files_are_allowed(
    touch: Callable[..., Path],
) -> None:
    root = touch("a/photo_1.png", "b/label_1.png")
    with pytest.raises(DataError, match="no stem is in all folders"):
        find_pairs(root, allow_unmatched=True)


def test_two_files_of_one_stem_are_both_named(touch: Callable[..., Path]) -> None:
    root = touch("a/1.png", "a/1.jpg", "b/1.png")
    with pytest.raises(DataError, match=r"a/1.jpg and .*a/1.png. Remove or rename"):
        find_pairs(root)


def test_missing_counterpart_is_named_in_its_own_spelling(touch: Callable[..., Path]) -> None:
    root = touch("trainA/1.png")
    with pytest.raises(DataError, match=r"trainA exists, but .*trainB does not. Add that folder"):
        unpaired(root)


def test_mixed_layouts_and_spellings_are_refused(touch: Callable[..., Path]) -> None:
    root = touch("trainA/1.png", "trainB/1.png", "train/a/1.png", "train/b/1.png")
    with pytest.raises(DataError, match="has two layouts"):
        find_pairs(root)
    if not os.path.exists(root / "TRAINA"):  # noqa: PTH110
        (root / "traina").mkdir()
        with pytest.raises(DataError, match="has both trainA and traina"):
            find_pairs(root)


def test_missing_split_and_empty_folder_are_refused(touch: Callable[..., Path]) -> None:
    root = touch("trainA/1.png", "trainB/notes.txt")
    with pytest.raises(DataError, match="trainB has no images"):
        unpaired(root)
    with pytest.raises(
        DataError,
        match=r"no folders for a and b of the test split. Accepted: test/a, testa, test_a",
    ):
        unpaired(root, "test")
    with pytest.raises(DataError, match="has no val split"):
        find_pairs(root, "val", "ab")
