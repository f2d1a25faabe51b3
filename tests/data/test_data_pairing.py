"""Names that are given and names that differ: folders, patterns, tables, and no guess without evidence."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from i2i.config import PairedData, UnpairedData
from i2i.data.check import check_folder
from i2i.data.dataset import PairedImages, UnpairedImages
from i2i.data.folders import DataError, find_pairs, list_split
from i2i.data.rules import check_guess

Touch = Callable[..., Path]
SMALL: dict[str, Any] = {"load_size": 16, "crop_size": 16}


def rows(root: Path, **settings: Any) -> list[tuple[str, ...]]:
    """Pairs as paths below the root."""
    files = find_pairs(root, **settings).files
    return [
        tuple(Path(file).relative_to(root).as_posix() for file in row)
        for row in zip(*files, strict=True)
    ]


# -- no guess without evidence ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "forms",
    [
        ("train/images", "train/masks"),
        ("images/train", "masks/train"),
        ("images", "masks"),
        ("train/x/images", "train/x/masks"),
    ],
)
@pytest.mark.parametrize("kind", ["paired", "auto", "unpaired"])
def test_folders_of_other_names_are_refused_with_what_was_seen(
    touch: Touch, forms: tuple[str, str], kind: Any
) -> None:
    root = touch(*(f"{form}/{number}.png" for form in forms for number in range(3)))
    touch("images/test/9.png" if forms[0] == "images/train" else "test/images/9.png")
    with pytest.raises(DataError, match=r"no folders for a and b of the train split; found") as e:
        list_split(root, "train", kind)
    if "x" not in forms[0]:
        assert "found folders images (3), masks (3)" in str(e.value)
        assert "--input images --target masks" in str(e.value)


def test_side_by_side_needs_images_twice_as_wide_as_high_or_a_request(
    write: Any, tmp_path: Path
) -> None:
    write("1.png", (20, 40))
    write("2.png", (20, 60))
    config = PairedData(root=str(tmp_path), **SMALL, on_bad_file="skip")
    message = r"(?s)1 of 2 files are not twice as wide as high.*data.layout=ab.*2.png is 60x20"
    with pytest.raises(DataError, match=message):
        PairedImages(config)
    with pytest.raises(DataError, match=message):
        check_guess(find_pairs(tmp_path))
    report = check_folder(tmp_path, "paired", smallest=16)
    assert not report.ok
    assert {issue.name: issue.files for issue in report.issues} == {"not double": ("2.png",)}
    assert check_folder(tmp_path, smallest=16).kind == "unconditional"
    assert len(PairedImages(config.model_copy(update={"layout": "ab"}))) == 2
    assert check_folder(tmp_path, "paired", "ab", smallest=16).ok


def test_two_layouts_at_once_are_refused(touch: Touch) -> None:
    root = touch("train/a/1.png", "train/b/1.png", "train/2.png", "train/3.png")
    with pytest.raises(DataError, match=r"two layouts: folders a and b, and 2 images beside them"):
        find_pairs(root)
    assert rows(root, layout="folders") == [("train/a/1.png", "train/b/1.png")]


def test_folders_and_images_beside_a_and_b_are_named_in_a_note(touch: Touch) -> None:
    root = touch("train/a/1.png", "train/b/1.png", "train/depth/1.png", "train/notes/x.txt")
    touch("train/preview.png", "test/a/1.png")
    notes = find_pairs(root).notes
    assert len(notes) == 2
    assert "1 images beside the folders are not used: preview.png" in notes[0]
    assert "depth beside a and b" in notes[1]


def test_splits_of_one_set_do_not_mix_at_any_depth(touch: Touch) -> None:
    root = touch("cat/train/1.png", "cat/test/2.png", "dog/1.png", "testA/3.png", "valid/4.png")
    (listing,) = list_split(root, "train", "unconditional")
    assert [Path(file).relative_to(root).as_posix() for file in listing.files[0]] == [
        "cat/train/1.png",
        "dog/1.png",
    ]
    remarks = " ".join(listing.remarks())
    assert "all subfolders are one set: cat (1), dog (1)" in remarks
    assert "cat/test" in remarks
    assert "testA" in remarks


@pytest.mark.parametrize("name", ["val", "valid", "Validation"])
def test_validation_split_has_several_spellings(touch: Touch, name: str) -> None:
    root = touch("train/a/1.png", "train/b/1.png", f"{name}/a/2.png", f"{name}/b/2.png")
    assert rows(root, split="val") == [(f"{name}/a/2.png", f"{name}/b/2.png")]


# -- folders that are named ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test", "names"),
    [
        (("train/images", "train/masks"), ("test/images", "test/masks"), ("images", "masks")),
        (
            ("train/images", "train/masks"),
            ("test/images", "test/masks"),
            ("train/images", "train/masks"),
        ),
        (("images/train", "masks/train"), ("images/test", "masks/test"), ("images", "masks")),
        (("trainA", "trainB"), ("testA", "testB"), ("trainA", "trainB")),
        (("horse", "zebra"), (), ("horse", "zebra")),
    ],
)
def test_named_folders_are_found_in_every_layout_and_split(
    touch: Touch, train: tuple[str, ...], test: tuple[str, ...], names: tuple[str, ...]
) -> None:
    root = touch(*(f"{folder}/1.png" for folder in train), *(f"{folder}/2.png" for folder in test))
    assert rows(root, names=names) == [tuple(f"{folder}/1.png" for folder in train)]
    listings = list_split(root, "train", "unpaired", names=names)
    assert [listing.files[0] for listing in listings] == [
        [f"{root}/{folder}/1.png"] for folder in train
    ]
    if test:
        assert rows(root, split="test", names=names) == [
            tuple(f"{folder}/2.png" for folder in test)
        ]
    else:
        with pytest.raises(DataError, match="no test folder for horse"):
            find_pairs(root, "test", names=names)


def test_name_that_means_two_folders_is_refused(touch: Touch) -> None:
    root = touch("train/x/1.png", "x/1.png", "y/1.png")
    with pytest.raises(DataError, match=r"x means two folders: .*/train/x and .*/x"):
        find_pairs(root, names=("x", "y"))
    assert rows(root, names=("train/x", "y")) == [("train/x/1.png", "y/1.png")]


@pytest.mark.parametrize("name", ["..", "../elsewhere", "/tmp", "a/../.."])
def test_name_that_stands_in_a_file_does_not_lead_out_of_the_data(touch: Touch, name: str) -> None:
    root = touch("root/a/1.png", "root/b/1.png", "elsewhere/1.png") / "root"
    with pytest.raises(DataError, match="leads out of"):
        find_pairs(root, names=(name, "b"), outside=False)


def test_named_unpaired_folders_are_trained_on_and_kept_in_the_description(
    write: Any, tmp_path: Path
) -> None:
    for number in range(2):
        write(f"horse/{number}.png")
        write(f"zebra/z{number}.png")
    config = UnpairedData(root=str(tmp_path), **SMALL, inputs=("horse",), target="zebra")
    dataset = UnpairedImages(config)
    files = {Path(file).parent.name for index in range(2) for file in dataset.files(0, index)}
    assert files == {"horse", "zebra"}
    assert [dataset.specs[domain].inputs[0].name for domain in "ab"] == ["horse", "zebra"]
    report = check_folder(tmp_path, "unpaired", inputs=["horse"], target="zebra", smallest=16)
    assert [group.name for group in report.groups] == ["train horse", "train zebra"]


# -- names of partners -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["häuser", "école", "한글", "Å"])
def test_names_in_two_unicode_forms_are_pairs(touch: Touch, name: str) -> None:
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    assert composed != decomposed
    root = touch(f"a/{composed}/{composed}.png", f"b/{decomposed}/{decomposed}.png")
    assert len(find_pairs(root).files[0]) == 1


def test_two_unicode_forms_of_one_name_in_a_folder_are_refused(touch: Touch) -> None:
    root = touch("a/é.png", "a/e\u0301.png", "b/é.png")
    with pytest.raises(DataError, match=r"one stem in one folder: .* and .*"):
        find_pairs(root)


@pytest.mark.parametrize(
    ("a", "b", "patterns"),
    [
        ("{}_A", "{}_B", ("{id}_A", "{id}_B")),
        ("city/{}_leftImg8bit", "city/{}_gtFine", ("{id}_leftImg8bit", "{id}_gtFine")),
        ("photo_{}", "label_{}", ("photo_{id}", "label_{id}")),
        ("{}", "{:04}", ("{number}", "{number}")),
        ("img{}", "mask_{:03}", ("img{number}", "mask_{number}")),
    ],
)
def test_names_that_differ_are_matched_by_the_pattern_that_the_refusal_suggests(
    touch: Touch, a: str, b: str, patterns: tuple[str, str]
) -> None:
    names = [(f"a/{a.format(n)}.png", f"b/{b.format(n)}.png") for n in (0, 7, 10, 11)]
    root = touch(*(name for pair in names for name in pair))
    with pytest.raises(DataError) as refused:
        find_pairs(root)
    for pattern in patterns:
        assert f'--pair-pattern "{pattern}"' in str(refused.value)
    assert sorted(rows(root, patterns=patterns)) == sorted(names)


def test_partners_in_one_folder_are_matched_by_patterns(touch: Touch) -> None:
    root = touch("train/0_A.png", "train/0_B.png", "train/1_A.png", "train/1_B.png", "train/x.png")
    pairs = find_pairs(root, patterns=("{id}_A", "{id}_B"))
    assert rows(root, patterns=("{id}_A", "{id}_B")) == [
        ("train/0_A.png", "train/0_B.png"),
        ("train/1_A.png", "train/1_B.png"),
    ]
    assert "3 of 5 images" in pairs.notes[0]


@pytest.mark.parametrize(
    ("patterns", "reason"),
    [
        (("{id}",), "1 patterns for 2 folders"),
        (("{id}", "x"), "must hold {id} or {number} once"),
        (("{id}{id}", "{id}"), "must hold {id} or {number} once"),
        (("{id}_x", "{id}"), "do not fit {id}_x"),
    ],
)
def test_patterns_that_cannot_match_are_refused(
    touch: Touch, patterns: tuple[str, ...], reason: str
) -> None:
    root = touch("a/1.png", "b/1.png")
    with pytest.raises(DataError) as refused:
        find_pairs(root, patterns=patterns)
    assert reason in str(refused.value)


# -- tables ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["input,target\r\n", "", "\ufeffx;y\n"])
def test_table_lists_the_pairs_in_order(touch: Touch, text: str) -> None:
    root = touch("x/2.png", "x/1 ä.png", "y/one.jpg", "y/two.jpg")
    mark = ";" if ";" in text else ","
    table = text + f"x/2.png{mark}y/two.jpg\n\nx/1 ä.png{mark} y/one.jpg\n"
    (root / "train.csv").write_text(table, "utf-8")
    expected = [("x/2.png", "y/two.jpg"), ("x/1 ä.png", "y/one.jpg")]
    assert rows(root, table="train.csv") == expected
    with pytest.raises(DataError, match="no table of the test split"):
        find_pairs(root, "test", table="train.csv")
    (root / "test.csv").write_text("x/2.png,y/one.jpg\n")
    assert rows(root, split="test", table="train.csv") == [("x/2.png", "y/one.jpg")]


def test_table_of_another_split_is_looked_for_below_the_root_or_by_its_name_alone(
    touch: Touch, tmp_path: Path
) -> None:
    root = touch("training/root/x/1.png", "training/root/y/1.png") / "training/root"
    (root / "lists/train").mkdir(parents=True)
    (root / "lists/test").mkdir()
    outside = root.parent / "train_pairs.csv"
    for name in (outside, root / "lists/train/p.csv"):
        name.write_text("x/1.png,y/1.png\n")
    with pytest.raises(DataError) as refused:
        find_pairs(root, "test", table=str(outside))
    assert f"Expected: {root.parent / 'test_pairs.csv'}" in str(refused.value)
    (root / "lists/test/p.csv").write_text("y/1.png,x/1.png\n")
    expected = [("y/1.png", "x/1.png")]
    for table in ("lists/train/p.csv", str(root / "lists/train/p.csv")):
        assert rows(root, split="test", table=table) == expected
    outside.with_name("test_pairs.csv").write_text("y/1.png,x/1.png\n")
    for table in (str(outside), "../train_pairs.csv"):
        assert rows(root, split="test", table=table) == expected


def test_table_given_for_a_split_is_used_as_it_is_named(write: Any, tmp_path: Path) -> None:
    for name in ("x/1.png", "y/1.png"):
        write(name)
    table = "test_pairs.csv"
    with pytest.raises(DataError, match=r"test_pairs\.csv: no such file"):
        check_folder(tmp_path, pairs=table, smallest=16)
    (tmp_path / table).write_text("x/1.png,y/1.png\n")
    assert rows(tmp_path, split="test", table=table, table_split="test") == [("x/1.png", "y/1.png")]
    report = check_folder(tmp_path, pairs=table, smallest=16)
    assert {group.name for group in report.groups} == {"test a", "test b"}
    write("x/2.png", seed=9)
    write("y/2.png", seed=8)
    (tmp_path / "train_pairs.csv").write_text("x/2.png,y/2.png\n")
    report = check_folder(tmp_path, pairs=table, smallest=16)
    assert {group.name.split()[0] for group in report.groups} == {"train", "test"}


def test_table_of_three_columns_stacks_inputs_with_the_names_of_its_header(
    write: Any, tmp_path: Path
) -> None:
    for name in ("d/1.png", "n/1.png", "p/1.png"):
        write(name, channels=1)
    (tmp_path / "pairs.csv").write_text("depth,normal,photo\nd/1.png,n/1.png,p/1.png\n")
    dataset = PairedImages(PairedData(root=str(tmp_path), **SMALL, pairs="pairs.csv"))
    assert dataset.channels == {"a": 2, "b": 1}
    assert [each.name for each in dataset.specs["a"].inputs] == ["depth", "normal"]
    assert check_folder(tmp_path, pairs="pairs.csv", smallest=16).kind == "paired"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a/1.png,../secret.png\n", r"pairs.csv, line 1: '../secret.png' leads out of"),
        ("a/1.png,/etc/x.png\n", r"line 1: '/etc/x.png' leads out of"),
        ("a/1.png,C:\\x.png\n", r"leads out of"),
        ("a/1.png,b/1.png\na/1.png,..\\x.png\n", r"line 2: .* leads out of"),
        ("a/1.png,\n", "leads out of"),
        ("a/1.png,b/9.png\n", r"1 of 2 files do not exist \(first: .*b/9.png\)"),
        ("a/1.png,b/1.png\na/1.png\n", "line 2: has 1 columns, the first row has 2"),
        ("a/1.png\n", "has 1 columns"),
        ("a/1.png,b/1.png\nb/1.png,./b//1.png\n", "line 2: './b//1.png' is input and target"),
        ("b/1.png,a/1.png,b/1.png\n", "line 1: 'b/1.png' is input and target"),
        ("x,y\na/1.png,b/1.png\n\na/1.png, b/1.png\n", "line 4: repeats line 2"),
        ("input,target\n", "has no rows"),
        (b"\xff\xfe\x00", "cannot be read as a table"),
        ("a/1.png,b/\0.png\n", "."),
    ],
)
def test_tables_that_are_wrong_or_lead_out_are_refused_by_line(
    touch: Touch, content: str | bytes, reason: str
) -> None:
    root = touch("root/a/1.png", "root/b/1.png", "secret.png") / "root"
    (root / "pairs.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=reason):
        find_pairs(root, table="pairs.csv")


def test_input_with_several_targets_is_noted_by_training_and_check(
    write: Any, tmp_path: Path
) -> None:
    for name in ("x/1.png", "x/2.png", "y/1.png", "y/2.png"):
        write(name)
    table = tmp_path / "p.csv"
    table.write_text("x/1.png,y/1.png\nx/2.png,y/1.png\n")
    assert "several" not in notes(tmp_path, pairs="p.csv")
    table.write_text("x/1.png,y/1.png\nx/2.png,y/1.png\n./x/1.png,y/2.png\n")
    expected = "1 inputs have several targets: x/1.png."
    assert expected in notes(tmp_path, pairs="p.csv")
    assert expected in check_folder(tmp_path, pairs="p.csv", smallest=16).notes


# -- notes -----------------------------------------------------------------------------------------


def notes(root: Path, **settings: Any) -> str:
    return "\n".join(PairedImages(PairedData(root=str(root), **SMALL | settings)).notes)


def checked(root: Path, **settings: Any) -> dict[str, str]:
    report = check_folder(root, smallest=16, **settings)
    assert report.ok
    return {issue.name: issue.level for issue in report.issues}


def test_training_and_check_report_files_of_unknown_formats_by_suffix(
    write: Any, tmp_path: Path
) -> None:
    write("a/1.png")
    write("b/1.png")
    for number in range(9):
        (tmp_path / f"a/{number}.HEIC").touch()
    assert "9 files of unknown formats are ignored: .heic (9)" in notes(tmp_path)
    assert checked(tmp_path) == {"other file": "warning"}
    (issue,) = check_folder(tmp_path, smallest=16).issues
    assert ".heic (9)" in issue.reasons[0]


def test_training_reports_pairs_that_are_resized_to_one_size(write: Any, tmp_path: Path) -> None:
    write("a/1.png", (20, 20))
    write("b/1.png", (20, 40))
    assert "differ in size from their partner, and both are resized to 16x16" in notes(tmp_path)


def test_gray_that_is_stored_as_color_is_reported_where_all_of_a_domain_is(
    write: Any, tmp_path: Path
) -> None:
    for number in range(2):
        write(f"a/{number}.png", pixels=np.repeat(noise(number), 3, axis=2))
        write(f"b/{number}.png")
    assert "2 of 4 files are gray stored as RGB" in notes(tmp_path)
    assert checked(tmp_path) == {"gray as color": "warning"}
    write("a/1.png")
    assert "gray" not in notes(tmp_path)


def noise(seed: int, top: int = 256, dtype: Any = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, (20, 20, 1)).astype(dtype)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (noise(0, 19), {"labels", "narrow range"}),
        (noise(0, 151) // 3 * 3, {"labels"}),
        (noise(0, 4096, np.uint16), {"narrow range"}),
        (noise(0, 65536, np.uint16), set[str]()),
        (noise(0), set[str]()),
    ],
)
def test_label_ids_and_integers_of_a_small_range_are_reported(
    write: Any, tmp_path: Path, pixels: np.ndarray, expected: set[str]
) -> None:
    write("a/1.png", pixels=pixels)
    write("b/1.png")
    assert set(checked(tmp_path)) == expected
    text = notes(tmp_path)
    assert ("data.masks" in text) == ("labels" in expected)
    assert ("nearly black" in text) == ("narrow range" in expected)
    if "labels" in expected:
        assert "data.masks" not in notes(tmp_path, masks=("a",))


def test_files_of_unrelated_channels_are_faults_for_training_and_check(
    write: Any, tmp_path: Path
) -> None:
    for number in range(3):
        np.save(write(f"a/{number}.npy").with_suffix(".npy"), np.zeros((20, 20, 5)))
        write(f"b/{number}.png")
        values = np.random.default_rng(number).random((20, 20, 3 if number == 1 else 5))
        np.save(tmp_path / f"a/{number}.npy", values.astype(np.float32))
    with pytest.raises(DataError, match=r"(?s)1 of 6 files have channels that cannot.*a/1.npy"):
        notes(tmp_path)
    report = check_folder(tmp_path, smallest=16)
    assert not report.ok
    assert [(issue.name, issue.files) for issue in report.issues] == [
        ("other channels", ("a/1.npy",))
    ]


def test_gray_and_color_in_one_domain_are_a_note_of_the_check(write: Any, tmp_path: Path) -> None:
    write("a/1.png", channels=1)
    write("a/2.png", channels=3)
    for number in (1, 2):
        write(f"b/{number}.png")
    report = check_folder(tmp_path, smallest=16)
    assert report.ok
    assert "domain a differ in channels (1 with 1, 1 with 3)" in report.notes[0]
    assert report.rows()[-1][0] == "note"


def test_progress_of_a_check_counts_all_splits_once(write: Any, tmp_path: Path) -> None:
    for name in ("train/a/1", "train/b/1", "train/a/2", "test/a/1", "test/b/1"):
        write(f"{name}.png")
    calls: list[tuple[int, int]] = []
    check_folder(tmp_path, smallest=16, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 5) for number in range(1, 6)]


def test_check_reads_as_many_pixels_as_it_is_asked_to(write: Any, tmp_path: Path) -> None:
    write("1.png", (20, 30))
    assert not check_folder(tmp_path, smallest=16, max_pixels=599).ok
    assert check_folder(tmp_path, smallest=16, max_pixels=600).ok
