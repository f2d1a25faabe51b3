"""One run folder has one writer, and checkpoints of every format that was ever released are read."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes import kill_after, start, wait_for
from runs import command, draw_scenes, final_state, rows, train_words

from i2i.checkpoint import CHECKPOINTS, FORMAT, steps

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
