"""One run folder has one writer, and checkpoints of every format that was ever released are read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import i2i
from processes import kill_after, start, wait_for
from runs import command, draw_scenes, final_state, rows, train_words

from i2i.checkpoint import (
    CHECKPOINTS,
    FORMAT,
    MANIFEST,
    WEIGHTS,
    CheckpointError,
    load_state,
    newest,
    prune,
    publish,
    read_manifest,
    steps,
    verify,
)
from i2i.config import ConfigError
from i2i.errors import I2IError
from i2i.execution import Execution
from i2i.files import EVENTS, METRICS, JsonlWriter, read_rows, remove_temporaries
from i2i.lock import InUseError, exclusive, new_folder
from i2i.run.settings import resume

FIXTURES = Path(__file__).parent / "fixtures"
RELEASED = sorted(path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("format-*/*"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def test_second_run_on_a_folder_is_refused_before_any_library_is_loaded_and_a_dead_ones_lock_is_taken_over(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    words = train_words("pix2pix", scenes, run, "--images", "1000000")
    first = start(command, words, log)
    wait_for(lambda: (run / "metrics.jsonl").exists() and len(rows(run)) > 1, 60, "the first run")
    resume = ["train", "pix2pix", "--resume", str(run), "--device", "cpu"]
    for again in (words, resume):
        code = (
            f"import sys; from i2i.cli import main; sys.argv = ['i2i', *{again!r}]\n"
            "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules, 'it loaded torch first'"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.startswith(
            f"i2i: {run}: another process is using this run (process {first.pid} on "
        )
        assert "Traceback" not in done.stderr
    position = len(rows(run))
    assert kill_after(first, 0.5), log.read_text()
    assert len(rows(run)) > position, "the first run was not disturbed"
    saved = steps(run / CHECKPOINTS)[-1][0]
    second = start(command, [*resume, "--images", str(saved + 4)], log)
    second.join(60)
    assert second.exitcode == 0, log.read_text()
    assert final_state(run)["images"] == saved + 4


def test_run_that_began_and_ended_while_another_read_its_data_is_not_replaced(
    scenes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from i2i.config import ConfigError, Layer, parse_override
    from i2i.run import train as run_module

    run = tmp_path / "run"
    open_data = run_module.build.open_data

    def slowly(*arguments: Any) -> Any:
        run.mkdir(exist_ok=True)
        (run / "config.yaml").write_text("theirs")
        return open_data(*arguments)

    monkeypatch.setattr(run_module.build, "open_data", slowly)
    small = [
        "data.load_size=36",
        "data.crop_size=32",
        "generator.name=unet",
        "generator.depth=5",
        "train.total_images=2",
    ]
    small += ["discriminator.layers=1"]
    layers = [
        Layer("data", {"data": {"root": str(scenes["facades"])}}),
        *map(parse_override, small),
    ]
    with pytest.raises(ConfigError, match="holds a run already"):
        run_module.train(run_module.Request("pix2pix", layers, str(run), device="cpu"))
    assert (run / "config.yaml").read_text() == "theirs"


def test_every_format_has_its_files() -> None:
    assert {name.split("/")[0] for name in RELEASED} == {
        f"format-{number}" for number in range(1, FORMAT + 1)
    }


@pytest.mark.parametrize("name", RELEASED)
def test_checkpoint_of_every_released_format_is_used_and_resumed(name: str, tmp_path: Path) -> None:
    # made with: i2i data synth KIND KIND --count 10 --size 32 --seed 1; i2i train METHOD --data
    # KIND --images 8 …
    method = name.rpartition("/")[2]
    draw_scenes(tmp_path, 10)
    run, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(FIXTURES / name, run)
    words = ["generate", "run", "made", "--count", "2"]
    if method != "dcgan":
        words = ["translate", "run", "facades/test/a", "made"]
    for arguments in (
        words,
        ["train", method, "--resume", "run", "--images", "16", "--device", "cpu"],
    ):
        process = start(command, arguments, log, lambda: os.chdir(tmp_path))
        process.join(60)
        assert process.exitcode == 0, log.read_text()
    assert len(list((tmp_path / "made").glob("*.png"))) == 2
    assert final_state(run)["images"] == 16
    assert [row["images"] for row in rows(run)] == [4, 8, 12, 16]


def resumed(run: Path, log: Path, *more: str) -> int | None:
    log.unlink(missing_ok=True)
    process = start(command, ["resume", str(run), "--device", "cpu", *more], log)
    process.join(60)
    return process.exitcode


@pytest.fixture(scope="module")
def finished(scenes: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 images whose data was given as a relative path."""
    run, log = tmp_path_factory.mktemp("finished") / "run", tmp_path_factory.mktemp("log") / "log"
    words = train_words("pix2pix", {"facades": Path("facades")}, run, "--images", "4")
    process = start(command, words, log, lambda: os.chdir(scenes["facades"].parent))
    process.join(60)
    assert process.exitcode == 0, log.read_text()
    return run


def test_links_in_a_run_are_not_written_through(finished: Path, tmp_path: Path) -> None:
    precious, log = tmp_path / "precious", tmp_path / "log"
    for number, name in enumerate(
        ("metrics.jsonl", "events.jsonl", ".lock", "samples", "checkpoints")
    ):
        run = tmp_path / str(number)
        shutil.copytree(finished, run)
        target = run / name
        if target.is_dir():
            target.rename(precious)
        else:
            target.unlink(missing_ok=True)
            precious.write_text("precious\n")
        target.symlink_to(precious)
        before = sorted(precious.rglob("*")) if precious.is_dir() else precious.read_text()
        assert resumed(run, log, "--images", "8") == 2
        assert f"{target}: a symbolic link" in log.read_text()
        assert "Traceback" not in log.read_text()
        assert before == (
            sorted(precious.rglob("*")) if precious.is_dir() else precious.read_text()
        )
        shutil.rmtree(precious) if precious.is_dir() else precious.unlink()


@pytest.mark.parametrize("name", ["config.yaml", WEIGHTS, "metrics.jsonl", "events.jsonl"])
def test_pipe_where_a_file_of_a_run_was_is_named_and_not_waited_for(
    name: str, finished: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(finished, run)
    (run / name).unlink(missing_ok=True)
    os.mkfifo(run / name)
    assert resumed(run, log, "--images", "8") == 2
    assert log.read_text().splitlines()[-1] == (
        f"i2i: {run / name}: not a regular file. Move it away."
    )


def test_checkpoint_whose_manifest_is_a_pipe_is_damaged(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    path = newest(tmp_path / "run" / CHECKPOINTS)[0]
    (path / MANIFEST).unlink()
    os.mkfifo(path / MANIFEST)
    with pytest.raises(CheckpointError, match=r"manifest\.json: missing or corrupt"):
        verify(path)


def test_rows_are_not_read_from_a_pipe_or_a_link_to_one(tmp_path: Path) -> None:
    for name in (METRICS, "target"):
        os.mkfifo(tmp_path / name)
    (tmp_path / EVENTS).symlink_to(tmp_path / "target")
    for name in (METRICS, EVENTS):
        with pytest.raises(I2IError, match="not a regular file"):
            read_rows(tmp_path / name)


def test_second_name_of_a_log_keeps_its_content(tmp_path: Path) -> None:
    snapshot, log = tmp_path / "snapshot", tmp_path / "metrics.jsonl"
    log.write_text('{"images": 2, "x": 1}\n{"images": 4, "x": 1}\n')
    os.link(log, snapshot)
    JsonlWriter(log, 2).close()
    assert len(snapshot.read_text().splitlines()) == 2
    assert len(log.read_text().splitlines()) == 1


def test_damaged_lines_of_a_log_are_removed_and_counted(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    good = '{"images": 2, "kind": "data", "text": "a"}\n'
    bad = ['{"images": "2", "kind": "data", "text": "a"}\n', '{"images": 2}\n', "\x00\n", "[]\n"]
    log.write_text(good + "".join(bad) + good + good[:9])
    writer = JsonlWriter(log, 9)
    writer.close()
    assert writer.damaged == len(bad)
    assert log.read_text() == 2 * good


@pytest.mark.parametrize("name", ["folder", "lock"])
def test_writer_whose_folder_or_lock_was_replaced_notices(name: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with exclusive(run) as lock:
        lock.check()
        if name == "folder":
            run.rename(tmp_path / "moved")
            run.mkdir()
            with pytest.raises(InUseError, match="moved, removed or replaced"):
                lock.check()
        else:
            (run / ".lock").unlink()
            lock.check()
            assert str(os.getpid()) in (run / ".lock").read_text()


def test_second_writer_is_refused_although_the_lock_file_was_removed(tmp_path: Path) -> None:
    code = f"from i2i.lock import check_held; from pathlib import Path; check_held(Path({str(tmp_path)!r}))"
    with exclusive(tmp_path):
        (tmp_path / ".lock").unlink()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"InUseError" in done.stderr


def test_folder_of_a_command_has_one_writer_and_nothing_stays_where_nothing_was_written(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    with new_folder(out):
        with pytest.raises(InUseError, match="another process is using this folder"):
            new_folder(out).__enter__()
        (out / "picture").touch()
    assert [path.name for path in out.iterdir()] == ["picture"]
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "other"):
        raise ZeroDivisionError
    assert not (tmp_path / "other").exists()


def test_only_temporaries_of_ours_are_removed_from_a_run(tmp_path: Path) -> None:
    (tmp_path / "my-notes.tmp-1").mkdir()
    (tmp_path / "my-notes.tmp-1" / "precious").touch()
    (tmp_path / ".notes.txt.tmp-1").touch()
    for name in ("config.yaml", "00000012.png", "metrics.jsonl"):
        (tmp_path / f".{name}.tmp-77").touch()
    (tmp_path / "step-00000012.tmp-77").mkdir()
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"my-notes.tmp-1", ".notes.txt.tmp-1"}


def test_pruning_leaves_what_others_put_into_a_checkpoint(tmp_path: Path) -> None:
    for images in (1, 2):
        step = tmp_path / f"step-{images:08d}"
        step.mkdir()
        (step / "state.pt").touch()
    (tmp_path / "step-00000001" / "notes.txt").touch()
    prune(tmp_path, 2, 1)
    kept = tmp_path / "step-00000001.kept"
    assert [path.name for path in kept.iterdir()] == ["notes.txt"]
    assert [images for images, _ in steps(tmp_path)] == [2]


def test_settings_edited_or_damaged_are_refused_by_name_and_taken_from_the_checkpoint(
    finished: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(finished, run)
    text = (run / "config.yaml").read_text()
    edits = {
        "train.seed": text.replace("seed: 0", "seed: 1"),
        "train.total_images": text.replace("total_images: 4", "total_images: 6"),
        "generator.width": text.replace("width: 4", "width: 5", 1),
        "not valid YAML": text[: len(text) // 2] + "{",
        "train.batch": text[: text.index("optim:")],
    }
    for words, edited in edits.items():
        assert edited != text
        (run / "config.yaml").write_text(edited)
        with pytest.raises(ConfigError, match=f"edited or damaged.*{words}.*--set"):
            resume(run, None, [])
    (run / "config.yaml").write_text(text.replace("\n#", "\n\n# my notes\n#"))
    resume(run, None, [])
    (run / "config.yaml").unlink()
    assert resumed(run, log, "--images", "8") == 0, log.read_text()
    assert "the settings are those of the newest checkpoint" in log.read_text()


def test_relative_data_is_found_again_from_another_folder_and_other_data_is_named(
    finished: Path, scenes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(finished, run)
    shutil.copytree(scenes["orchard"], tmp_path / "facades")
    monkeypatch.chdir(tmp_path)
    assert resume(run, None, []).data.root == str(scenes["facades"].resolve())
    shutil.rmtree(tmp_path / "facades")
    shutil.copytree(scenes["facades"], tmp_path / "facades")
    picture = next((tmp_path / "facades").rglob("train/a/*.png"))
    picture.write_bytes(picture.read_bytes() + b"\0")
    assert resumed(run, log, "--images", "8", "--data", "facades") in (0, 2)
    text = log.read_text()
    assert "are not those that the run was trained on" in text or "cannot change" in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ranks", None),
        ("images", "4"),
        ("images", -5),
        ("images", True),
        ("images", 6),
        ("updates", -1),
        ("epoch_images", [None]),
        ("epoch_images", 2.5),
        ("ranks", [{}]),
        ("method", {}),
        ("optimizers", {"x": 1}),
        ("ranks", []),
    ],
)
def test_part_of_a_state_that_is_missing_or_of_another_type_is_named(
    key: str, value: object, finished: Path, tmp_path: Path
) -> None:
    import torch

    from i2i.run import build
    from i2i.run.settings import saved
    from i2i.training.trainer import Trainer

    settings = saved(finished)
    method = build.make_method(settings, {"a": 3, "b": 3})
    trainer = Trainer(method, settings.train, settings.optim, torch.device("cpu"), Execution())
    state = load_state(newest(finished / CHECKPOINTS)[0])
    trainer.restore(dict(state))
    path = newest(finished / CHECKPOINTS)[0]
    trainer.restore(dict(state), path)
    if value is None:
        del state[key]
    else:
        state[key] = None if value == [None] else value
    with pytest.raises(CheckpointError, match="Remove it to use the one before") as caught:
        trainer.restore(state, path)
    assert caught.value.subject == str(path)


def test_state_that_does_not_fit_its_checkpoint_is_one_line_that_names_it(
    finished: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(finished, run)
    path = newest(run / CHECKPOINTS)[0]
    state = load_state(path) | {"images": -5}
    weights, facts = (path / WEIGHTS).read_bytes(), read_manifest(path)
    publish(run / CHECKPOINTS, 4, state, weights, 3, facts)
    verify(path)
    assert resumed(run, log, "--images", "8") == 2
    assert log.read_text().splitlines()[-1] == (
        f"i2i: {path}: images is -5. Remove it to use the one before."
    )


def test_settings_of_another_run_are_refused_where_they_are_fixed(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    words = [train_words("pix2pix", scenes, tmp_path / name, "--images", "4") for name in "ab"]
    other = ["--set", "train.seed=5", "--set", "optim.lr=1e-3"]
    assert i2i(tmp_path / "1", *words[0]).status == 0
    assert i2i(tmp_path / "2", *words[1], *other).status == 0
    shutil.copy(tmp_path / "b/config.yaml", tmp_path / "a/config.yaml")
    ended = i2i(tmp_path / "3", "resume", tmp_path / "a", "--images", 8)
    assert ended.status == 2
    assert (
        "of another run: differs from the newest checkpoint in train.seed (0 there, 5 here)"
        in ended.err
    )
