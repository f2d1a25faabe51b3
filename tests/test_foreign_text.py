"""Names of files, tensors, settings and members are foreign text: what a terminal shows of them is one visible line."""

import sys
import unicodedata
import zipfile
from pathlib import Path

from commands import here, i2i
from hypothesis import given
from hypothesis import strategies as st
from models import write_model, write_pictures
from pages import write_run

from i2i.config import ConfigError
from i2i.errors import LONGEST, LONGEST_REASON, I2IError, printable
from i2i.report.record import read_record
from i2i.report.run import Remarks, write_run_page

FORGED = "a\nfailed: b.png: \x1b[31m\u202egnp\x9b2J\x07.png"
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # categories of Unicode


def visible(text: str) -> bool:
    return not any(unicodedata.category(char) in UNSEEN for char in text)


def test_every_character_that_a_terminal_obeys_or_hides_is_escaped() -> None:
    size = 2**12
    for number in range(0, sys.maxunicode + 1, size):
        text = printable("".join(map(chr, range(number, number + size))), size)
        assert visible("".join(set(text))), hex(number)
    assert printable("a\nb\x1b\u202e\x9b\udcff\u3164") == r"a\nb\x1b\u202e\x9b\udcff\u3164"
    assert printable("Bäume ×2 — 猫 ½.png") == "Bäume ×2 — 猫 ½.png"


@given(st.text(st.characters(), max_size=50), st.text(max_size=50), st.text(max_size=50))
def test_error_about_foreign_text_is_one_visible_line(one: str, two: str, three: str) -> None:
    error = I2IError(one, f"reason {two}", three)
    for text in (str(error), error.explanation, str(error.with_subject(two))):
        assert visible(text)
    combined = ConfigError.combine([ConfigError(one, "x"), ConfigError(two, "y")])
    assert len(str(combined).split("\n")) == 2


def test_long_text_is_shortened_in_the_middle() -> None:
    text = str(I2IError("s" * 10**6, "r" * 10**6 + "end", "h" * 10**6))
    assert len(text) < 2 * LONGEST + LONGEST_REASON + 10
    assert text.count("…") == 3
    assert "end. h" in text


def test_name_of_a_file_forges_no_line_of_translating(tmp_path: Path) -> None:
    write_model(tmp_path / "model", "resnet")
    write_pictures(tmp_path / "photos", 1)
    (tmp_path / "photos" / FORGED).write_bytes(b"x")
    done = i2i(
        tmp_path / "streams", "translate", tmp_path / "model", tmp_path / "photos", tmp_path / "out"
    )
    assert done.status == 1
    assert [line for line in done.err.splitlines() if line.startswith("failed: ")] == [
        line for line in done.err.splitlines() if r"failed: a\nfailed: b.png" in line
    ]
    assert visible((done.out + done.err).replace("\n", ""))


def test_foreign_names_stay_on_one_line_in_every_list(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", 2)
    (tmp_path / "photos" / FORGED).write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "photos/000.png", "good.png")
        archive.writestr("a\u202e\x9bgnp.png", b"x")
    commands: list[list[object]] = [
        ["data", "check", tmp_path / "photos"],
        ["data", "check", tmp_path / FORGED],
        ["data", "unpack", tmp_path / "x.zip", tmp_path / "out"],
        ["show", FORGED],
        ["show", FORGED, "--schema"],
        [FORGED],
        ["list", FORGED],
        ["list", "recipes", FORGED],
        ["list", f"--{FORGED}"],
        ["train", "pix2pix", "--set", FORGED],
        ["train", "pix2pix", "--set", f"{FORGED}=1"],
        ["train", "pix2pix", "--data", "x", "--set", f"train.{FORGED}=1", "--set", "train.x=1"],
        ["train", "pix2pix", "--config", FORGED],
        ["translate", FORGED, "in", "out", "--device", FORGED],
        ["generate", FORGED, "out", "--grid", FORGED],
        ["evaluate", FORGED, FORGED],
        ["report", FORGED],
        ["compare", FORGED, "x"],
        ["import", FORGED, "--out", tmp_path / "imported"],
    ]
    for words in commands:
        done = here(*words)
        lines = (done.out + done.err).split("\n")
        assert done.status in (1, 2), words
        assert all(map(visible, lines)), (words, lines)
        assert not any(line.startswith("failed:") for line in lines), (words, lines)
        assert "Traceback" not in done.err, done.err


def test_page_with_foreign_names_is_written(tmp_path: Path) -> None:
    page, record = tmp_path / "x.html", read_record(write_run(tmp_path / FORGED))
    write_run_page(page, record, Remarks(title=f"\udcff{FORGED}<b>"))
    text = page.read_text("utf-8")
    assert r"\udcffa\nfailed" in text
    assert "gnp<b>" not in text
    assert "2J<b>" not in text
    assert "\u202e" not in text


def test_name_of_a_run_forges_no_line_of_a_comparison(tmp_path: Path) -> None:
    run = write_run(tmp_path / FORGED, settings=("data.root=x\\ny",))
    other = write_run(tmp_path / "other")
    for form in ([], ["--markdown"], ["--json"]):
        done = i2i(tmp_path / "streams", "compare", run, other, *form)
        assert done.status == 0, done
        assert visible((done.out + done.err).replace("\n", ""))
        assert not any(line.startswith("failed:") for line in done.out.splitlines())


def test_missing_file_is_named_as_it_is(tmp_path: Path) -> None:
    done = i2i(tmp_path / "streams", "evaluate", tmp_path / "Bäume", "x")
    assert f"i2i: {tmp_path / 'Bäume'}: no such model" in done.err
