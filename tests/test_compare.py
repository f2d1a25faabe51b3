"""Runs beside each other: best first, numbers of two protocols never in one column, only settings that differ."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands import Ended, here
from pages import interval, write_lines, write_run
from test_run_page import Page, squeezed

from i2i.errors import I2IError
from i2i.run.compare import compare, score_tables


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("| ").split("|")]


def validated(folder: Path, metric: str, scores: dict[str, dict[str, float]], **row: Any) -> Path:
    """Write a run with one validation, of means by direction and metric."""
    write_run(folder, validated=False, sampled=False)
    by_direction = {
        direction: {name: interval(mean, 0.0) for name, mean in own.items()}
        for direction, own in scores.items()
    }
    first = {"images": 8, "epoch": 1.0, "scores": by_direction, "metric": metric, "value": 0.0}
    last = {"protocol": {}, "protocol_hash": "1a2b3c4d", "best": True}
    write_lines(folder / "validation.jsonl", [first | last | row])
    return folder


def markdown(*words: object) -> list[str]:
    done: Ended = here("compare", "--markdown", *words)
    assert done.status == 0, done
    return [line for line in done.out.splitlines() if line and "---" not in line]


def test_runs_are_ranked_by_the_best_validation_with_intervals_cost_and_differences(
    tmp_path: Path,
) -> None:
    write_run(tmp_path / "one")
    write_run(tmp_path / "other", shift=0.1, settings=("optim.lr=0.001", "generator.width=32"))
    facts = {"seconds": 120, "parameters": {"G": 1_500_000, "D": 500_000}, "device": "cpu"}
    record = facts | {"peak_memory_bytes": 3 * 2**29, "ended": "patience"}
    (tmp_path / "other" / "environment.json").write_text(json.dumps(record))
    plain = write_run(tmp_path / "plain", validated=False, sampled=False)
    lines = markdown(tmp_path / "one", tmp_path / "other", plain)
    assert [cells(line) for line in lines] == [
        ["protocol 1a2b3c4d"],
        ["SSIM", "PSNR, dB", "weights after"],
        ["other", "0.633 [0.613, 0.653]", "20.63 [20.13, 21.13]", "2,000 images, best SSIM"],
        ["one", "0.533 [0.513, 0.553]", "20.53 [20.03, 21.03]", "2,000 images, best SSIM"],
        ["plain", "–", "–", "–"],
        ["cost"],
        ["images seen", "training time", "speed", "ended", "parameters", "peak memory", "device"],
        ["one", "4,000 of 4,000", "3 min", "20.0 images/s", "finished", "–", "–", "–"],
        ["other", "4,000 of 4,000", "2 min", "33.3 images/s", "patience", "2.0 million", "1.5 GiB", "cpu"],
        ["plain", "4,000 of 4,000", "3 min", "20.0 images/s", "finished", "–", "–", "–"],
        ["settings that differ"],
        ["one", "other", "plain"],
        ["generator.width", "64", "32", "64"],
        ["optim.lr", "0.0002", "0.001", "0.0002"],
    ]  # fmt: skip


def test_lower_is_better_where_the_metric_says_so_and_unknown_values_are_last(
    tmp_path: Path,
) -> None:
    means = {"far": (4.0, 5.0), "lost": (float("nan"), 0.0), "near": (6.0, 2.0)}
    runs = [
        validated(tmp_path / name, "swd", {"a2b": {"swd": a}, "b2a": {"swd": b}})
        for name, (a, b) in means.items()
    ]
    (table,) = score_tables(compare(runs))
    assert table.rows[0] == ["", "SWD, ×10⁻³ (a2b)", "SWD, ×10⁻³ (b2a)", "weights after"]
    assert [row[:2] for row in table.rows[1:]] == [
        ["near", "6.0 [6.0, 6.0]"],
        ["far", "4.0 [4.0, 4.0]"],
        ["lost", "– [–, –]"],
    ]
    content = json.loads(here("compare", "--json", *runs).out, parse_constant=pytest.fail)
    scores = content["runs"]["lost"]["validation"]["scores"]
    assert scores["a2b"]["swd"] == {"mean": None, "low": None, "high": None}


def test_each_protocol_has_its_own_table_and_its_own_curves(tmp_path: Path) -> None:
    hashes = {"a": "11111111", "b": "22222222", "c": "11111111", "d": "", "e": ""}
    runs = [
        write_run(tmp_path / name, protocol_hash=value, sampled=False)
        for name, value in hashes.items()
    ]
    tables = score_tables(compare(runs))
    assert [[row[0] for row in table.rows[1:]] for table in tables] == [["a", "c"], ["b"], ["d"], ["e"]]  # fmt: skip
    said = here("compare", *runs[:3], "--out", tmp_path / "page.html")
    assert said.out.endswith("note: 2 protocols, whose numbers are not comparable\n")
    page = Page(tmp_path / "page.html")
    assert "2 protocols, whose numbers are not comparable" in page.words
    drawn = {c["title"]: [s["run"] for s in c["series"]] for c in page.values()["charts"]}
    assert drawn["SSIM, protocol 11111111"] == [0, 2]
    assert drawn["SSIM, protocol 22222222"] == [1]
    content = json.loads(here("compare", "--json", *runs[:3]).out)
    assert content["warning"].startswith("not comparable, 2 protocols are in one column (1111")


def test_runs_of_different_methods_show_settings_that_only_one_of_them_has(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other")
    config = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text("method: {name: nothing, rare: 7}\ntrain: {batch: 4}\n")
    comparison = compare([one, other])
    assert comparison.differences["method.rare"] == {"other": 7}
    assert comparison.differences["data.root"].keys() == {"one"}
    assert "train.batch" not in comparison.differences
    assert comparison.problems[0].startswith("other: not all settings are known: ")
    (other / "config.yaml").write_text(config)
    assert compare([one, other]).differences == {}
    done = here("compare", one, other)
    assert "settings that differ" not in done.out


def test_runs_of_the_same_name_are_told_apart_by_their_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("x/run", "y/run", "z/alone"):
        write_run(tmp_path / name, sampled=False)
    monkeypatch.chdir(tmp_path)
    comparison = compare([Path("x/run"), Path("y/run"), Path("z/alone")])
    assert list(comparison.records) == ["x/run", "y/run", "alone"]
    with pytest.raises(I2IError, match="more than once"):
        compare([Path("x/run"), tmp_path / "x" / "run"])


def test_page_shows_the_tables_and_escapes_every_text(tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>&'.replace("/", "")
    runs = [write_run(tmp_path / name) for name in (evil, "other")]
    assert here("compare", *runs, "--out", tmp_path / "page.html").status == 0
    page = Page(tmp_path / "page.html")
    assert "<script>alert" not in page.text
    assert page.values()["runs"] == [evil, "other"]
    words = squeezed(page.words)
    for said in ("2 runs", evil, "0.533 [0.513, 0.553]", "Protocol 1a2b3c4d", "20.0 images/s"):
        assert said in words, said
    assert "not comparable" not in words


def test_words_that_compare_nothing_are_refused(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one"), write_run(tmp_path / "other")
    assert "two or more runs are needed" in here("compare", one).err
    assert "exclude each other" in here("compare", one, other, "--json", "--markdown").err
    assert "nothing: holds no run" in here("compare", one, tmp_path / "nothing").err
    (tmp_path / "page.html").write_text("mine")
    assert here("compare", one, other, "--out", tmp_path / "page.html").status == 2
    assert (tmp_path / "page.html").read_text() == "mine"
