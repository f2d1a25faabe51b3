"""Validation while training: scores that training does not notice, the best weights, early stop, all of it resumed exactly."""

import functools
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from commands import here
from processes import start
from runs import command, draw_scenes, final_state, finish, rows, start_ranks, train_words
from states import equal

from i2i import load, registry
from i2i.checkpoint import CHECKPOINTS, WEIGHTS, steps
from i2i.config import Layer
from i2i.evaluation.evaluate import evaluate
from i2i.files import BEST, EVENTS, VALIDATION, VALIDATIONS, DiskFullError
from i2i.run import contradictions
from i2i.run.contradictions import chosen_metrics
from i2i.run.settings import resolve
from i2i.training import loop
from i2i.training.distributed import process_group
from i2i.training.validation import Record

EVERY = ["--images", 24, "--set", "validate.every_images=8", "--set", "validate.share=0.3"]
EVERY += ["--set", "train.checkpoint_every_images=12", "--set", "train.keep_checkpoints=9"]
STILL = ["--set", "optim.lr=1e-12"]  # nothing is better than the first validation


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def with_val(tmp_path_factory: pytest.TempPathFactory, scenes: dict[str, Path]) -> dict[str, Path]:
    """Facades whose test split is called val."""
    root = tmp_path_factory.mktemp("with_val") / "facades"
    shutil.copytree(scenes["facades"], root)
    (root / "test").rename(root / "val")
    return {"facades": root}


def run_to_the_end(words: list[str], log: Path, prepare: Callable[[], None] | None = None) -> None:
    process = start(command, words, log, prepare)
    process.join(120)
    assert process.exitcode == 0, log.read_text()


def resume_words(run: Path, *more: object) -> list[str]:
    return ["resume", str(run), "--device", "cpu", *map(str, more)]


def same(one: Path, other: Path) -> bool:
    """Return True if two runs agree in state, rows of both kinds, pictures, and both weights."""
    files = (WEIGHTS, f"{BEST}/{WEIGHTS}", f"{BEST}/best.json")
    pictures = [
        {path.relative_to(run): path.read_bytes() for path in (run / VALIDATION).rglob("*.*")}
        for run in (one, other)
    ]
    return (
        equal(final_state(one), final_state(other))
        and all(rows(one, name) == rows(other, name) for name in ("metrics.jsonl", VALIDATIONS))
        and all((one / name).read_bytes() == (other / name).read_bytes() for name in files)
        and pictures[0] == pictures[1]
    )


# -- scores ----------------------------------------------------------------------------------------


def test_scores_are_those_of_evaluating_the_weights_on_the_same_images(
    with_val: dict[str, Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = train_words("pix2pix", with_val, run, *EVERY, "--set", "data.load_size=32")
    run_to_the_end(words, tmp_path / "log")
    row = rows(run, VALIDATIONS)[-1]
    expected = evaluate(load(run, device="cpu"), with_val["facades"], split="val").scores["model"]
    found = row["scores"]["a2b"]
    assert row["images"] == 24
    for name in ("psnr", "ssim", "l1"):
        interval = [found[name][part] for part in ("mean", "low", "high")]
        assert interval == pytest.approx(list(expected[name]), abs=1e-9), name
    assert row["value"] == found["ssim"]["mean"]
    assert [row["images"] for row in rows(run, VALIDATIONS)] == [8, 16, 24]


def test_training_with_validation_equals_training_without(
    with_val: dict[str, Path], tmp_path: Path
) -> None:
    with_it, without = tmp_path / "with", tmp_path / "without"
    words = ["--set", "train.ema_halflife_images=8", "--set", "generator.dropout=true"]
    run_to_the_end(train_words("pix2pix", with_val, with_it, *EVERY, *words), tmp_path / "log")
    plain = [*EVERY[:2], *words]
    run_to_the_end(train_words("pix2pix", with_val, without, *plain), tmp_path / "log")
    states = [final_state(run) for run in (with_it, without)]
    assert states[0].pop("validation")["validated"] == 24
    assert not any(states[1].pop("validation").values())
    assert equal(*states)
    assert rows(with_it) == rows(without)
    assert not (without / VALIDATIONS).exists()


def test_pictures_and_scores_of_the_newest_and_the_best_are_kept_worst_first(
    finished: Path,
) -> None:
    run = finished
    best = json.loads((run / BEST / "best.json").read_text())
    kept = {int(path.name) for path in (run / VALIDATION).iterdir()}
    assert kept == {best["images"], 24}
    table = [
        line.split(",")
        for line in (run / VALIDATION / "00000024/scores.csv").read_text().splitlines()
    ]
    assert table[0] == ["direction", "name", "psnr", "ssim", "l1"]
    values = [float(line[3]) for line in table[1:]]
    assert values == sorted(values)
    assert sum(values) / len(values) == pytest.approx(rows(run, VALIDATIONS)[-1]["value"], rel=1e-5)
    for _, name, *_ in table[1:]:
        for part in ("input", "output", "target"):
            assert (run / VALIDATION / f"00000024/a2b/{name}.{part}.png").exists()


# -- resuming --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of pix2pix that nothing has interrupted; its best is its first."""
    folder = tmp_path_factory.mktemp("finished")
    words = train_words("pix2pix", scenes, folder / "run", *EVERY, *STILL)
    run_to_the_end(words, folder / "log")
    return folder / "run"


@pytest.mark.parametrize("method", ["pix2pix", "cyclegan", "dcgan"])
def test_resumed_run_validates_as_an_uninterrupted_one(
    method: str, scenes: dict[str, Path], finished: Path, tmp_path: Path
) -> None:
    unbroken, broken = finished, tmp_path / "broken"
    if method != "pix2pix":
        unbroken = tmp_path / "unbroken"
        more = ["--set", "train.ema_halflife_images=20", "--set", 'validate.metrics=["swd"]']
        run_to_the_end(train_words(method, scenes, unbroken, *EVERY, *more), tmp_path / "log")
    shutil.copytree(unbroken, broken)
    for images, path in steps(broken / CHECKPOINTS):
        if images > 12:
            shutil.rmtree(path)
    run_to_the_end(resume_words(broken), tmp_path / "log")
    assert [row["images"] for row in rows(broken, VALIDATIONS)] == [8, 16, 24]
    assert same(unbroken, broken)


@pytest.mark.parametrize("moment", ["publish", "write_best", "score"])
def test_run_killed_around_a_validation_ends_as_one_that_was_not(
    moment: str, scenes: dict[str, Path], finished: Path, tmp_path: Path
) -> None:
    broken, log = tmp_path / "broken", tmp_path / "log"

    def dying(real: Callable[..., Any], *arguments: Any) -> Any:
        if any(row["images"] == 8 for row in rows(broken, VALIDATIONS)) or moment == "score":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    def prepare() -> None:
        owner: Any = {"publish": loop, "write_best": Record, "score": loop.Loop}[moment]
        name = {"score": "_score"}.get(moment, moment)
        real = getattr(owner, name)
        setattr(owner, name, lambda *arguments: dying(real, *arguments))

    process = start(command, train_words("pix2pix", scenes, broken, *EVERY, *STILL), log, prepare)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, log.read_text()
    run_to_the_end(resume_words(broken), log)
    assert same(finished, broken)


def test_best_that_could_not_be_saved_does_not_count(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"

    def prepare() -> None:
        publish = loop.publish

        def failing(folder: Path, images: int, *rest: Any) -> Path:
            if images == 8:
                raise DiskFullError(folder, "the disk is full")
            return publish(folder, images, *rest)

        loop.publish = failing  # type: ignore[assignment]

    run_to_the_end(train_words("pix2pix", scenes, run, *EVERY, *STILL), log, prepare)
    best = json.loads((run / BEST / "best.json").read_text())
    assert best["images"] == 16
    assert load(f"{run}/{BEST}", device="cpu")
    assert "the disk is full" in log.read_text()


def test_run_that_goes_back_to_before_its_best_loses_it_and_says_so(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = [*EVERY, "--set", "train.keep_checkpoints=1", *STILL]
    run_to_the_end(train_words("pix2pix", scenes, run, *words), log)
    assert json.loads((run / BEST / "best.json").read_text())["images"] == 8
    (run / BEST / "best.json").write_text('{"images": 99}')
    run_to_the_end(resume_words(run), log)
    assert "the best weights, after 8 images, are lost" in log.read_text()
    assert not (run / BEST).exists()


# -- early stop ------------------------------------------------------------------------------------

PATIENCE = [*STILL, "--set", "validate.patience=2"]


def test_run_without_an_improvement_ends_early_and_says_so_also_when_resumed(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = [*EVERY, "--images", 64, "--set", "train.batch=4", *PATIENCE]
    run_to_the_end(train_words("pix2pix", scenes, run, *words), log)
    assert final_state(run)["images"] == 24  # 8, and two that are not better
    event = rows(run, EVENTS)[-1]
    assert (event["images"], event["kind"]) == (24, "validation")
    assert "ssim has not improved on" in event["text"]
    assert "in 2 validations" in event["text"]
    assert "finished early: ssim has not improved" in (run / "report.html").read_text()
    log.unlink()
    run_to_the_end(resume_words(run), log)
    assert "stopped early after 24 images" in log.read_text()
    assert final_state(run)["images"] == 24
    run_to_the_end(resume_words(run, "--set", "validate.patience=4"), log)
    assert final_state(run)["images"] == 40
    run_to_the_end(resume_words(run, "--set", "validate.patience=null"), log)
    assert final_state(run)["images"] == 64
    assert [row["images"] for row in rows(run, VALIDATIONS)] == list(range(8, 65, 8))


# -- ranks -----------------------------------------------------------------------------------------


def test_validation_longer_than_the_patience_of_the_other_rank_ends_no_run(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"

    def prepare(index: int) -> None:
        from i2i.run import train, validation

        short = functools.partial(process_group, timeout=timedelta(seconds=3))
        train.process_group = short  # type: ignore[assignment]
        translate = validation.translate

        def slowly(*arguments: Any) -> Any:
            time.sleep(1.2)
            return translate(*arguments)

        validation.translate = slowly  # type: ignore[assignment]

    words = [*EVERY, "--images", 16, "--set", "validate.every_images=16"]
    words = train_words("pix2pix", scenes, run, *words)
    assert finish(start_ranks(2, words, log, prepare), 90) == [0, 0], log.read_text()
    assert [row["images"] for row in rows(run, VALIDATIONS)] == [16]
    assert (run / BEST / WEIGHTS).read_bytes() == (run / WEIGHTS).read_bytes()


def test_two_ranks_keep_the_best_and_stop_early_together(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = train_words("pix2pix", scenes, run, *EVERY, "--images", 64, *PATIENCE)
    assert finish(start_ranks(2, words, log), 90) == [0, 0], log.read_text()
    assert final_state(run)["images"] == 24
    assert json.loads((run / BEST / "best.json").read_text())["images"] == 8
    assert finish(start_ranks(2, resume_words(run), log), 90) == [0, 0], log.read_text()
    assert final_state(run)["images"] == 24


# -- settings --------------------------------------------------------------------------------------


def test_resumed_run_cannot_begin_to_hold_out_what_it_was_trained_on(
    scenes: dict[str, Path], with_val: dict[str, Path], tmp_path: Path
) -> None:
    for data, fits in ((scenes, False), (with_val, True)):
        run = tmp_path / str(fits)
        run_to_the_end(train_words("pix2pix", data, run, "--images", 4), tmp_path / "log")
        more = ["--images", 8, "--set", "validate.every_images=4"]
        ended = here(*resume_words(run, *more))
        assert (ended.status == 0) == fits, ended.err
        assert fits or "i2i: validate.every_images: would change which images" in ended.err
        assert (run / VALIDATIONS).exists() == fits


@pytest.mark.parametrize("change", ["a file is removed", "the folder val is removed"])
def test_resuming_says_that_images_held_out_now_may_have_been_trained_on(
    change: str, with_val: dict[str, Path], tmp_path: Path
) -> None:
    data, run, log = tmp_path / "data", tmp_path / "run", tmp_path / "log"
    shutil.copytree(with_val["facades"], data)
    if change == "a file is removed":
        shutil.rmtree(data / "val")
    run_to_the_end(train_words("pix2pix", {"facades": data}, run, *EVERY), tmp_path / "first")
    run_to_the_end(resume_words(run, "--images", 26), tmp_path / "same")
    assert "held out now" not in (tmp_path / "same").read_text()
    if change == "a file is removed":
        for domain in "ab":
            min((data / "train" / domain).iterdir()).unlink()
    else:
        shutil.rmtree(data / "val")
    run_to_the_end(resume_words(run, "--images", 28), log)
    assert "images that are held out now may have been trained on before" in log.read_text()


@pytest.mark.parametrize(
    ("method", "metrics", "reason"),
    [
        ("pix2pix", ["ssin"], "validate.metrics: there is no metric ssin"),
        ("cyclegan", ["swd", "ssim"], "validate.metrics: ssim compares pairs, and cyclegan trains"),
        ("dcgan", ["psnr"], "validate.metrics: psnr compares pairs"),
        ("dcgan", ["recall_effnet"], "recall_effnet: "),  # few images are held out
    ],
)
def test_metric_that_does_not_fit_is_refused_before_anything_is_written(
    method: str, metrics: list[str], reason: str, scenes: dict[str, Path], tmp_path: Path
) -> None:
    setting = f"validate.metrics={json.dumps(metrics)}"
    ended = here(*train_words(method, scenes, tmp_path / "run", *EVERY, "--set", setting))
    assert ended.status == 2
    assert reason in ended.err
    assert not (tmp_path / "run").exists()


def test_sets_are_compared_by_pretrained_features_where_they_are_installed(
    scenes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def chosen(method: str, *computable: str) -> Any:
        monkeypatch.setattr(contradictions, "available", lambda _: list(computable))
        data = {"root": str(scenes["orchard"])}
        config = resolve(method, [Layer("", {"data": data, "validate": {"every_images": 8}})])
        return chosen_metrics(config, registry.find("methods", method).factory.kind)

    for method in ("cyclegan", "dcgan"):
        assert chosen(method, "swd", "kid_effnet") == (("kid_effnet", "swd"), "kid_effnet")
        assert chosen(method, "swd") == (("swd",), "swd")
    assert chosen("pix2pix", "swd", "kid_effnet") == (("psnr", "ssim", "l1"), "ssim")


def test_best_is_chosen_by_the_direction_of_the_metric_and_ties_are_no_improvement() -> None:
    one = Record().after(8, "l1", "p", 0.5, False)
    assert (one.images, one.since) == (8, 0)
    worse = one.after(16, "l1", "p", 0.6, False)
    assert (worse.images, worse.value, worse.since, worse.validated) == (8, 0.5, 1, 16)
    assert worse.after(24, "l1", "p", 0.5, False).since == 2
    assert worse.after(24, "l1", "p", 0.4, False).images == 24
    assert worse.after(24, "ssim", "p", 0.1, True).images == 24, "another metric begins anew"
    assert worse.after(24, "l1", "q", 0.9, False).images == 24, "another protocol, too"
    assert one.after(16, "l1", "p", float("nan"), False).images == 8
