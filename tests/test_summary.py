"""`i2i translate --summary` says what the shards of a job did, from their records alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import here
from models import write_model, write_pictures
from processes import start
from torch import nn

from i2i.translation import TranslationError
from i2i.translation.folder import Report, translate_folder
from i2i.translation.options import Options
from i2i.translation.summary import summarize
from i2i.translation.translator import Translator

FIXTURE = Path(__file__).parent / "reliability/fixtures/version-1/job"


class Same(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def run(source: Path, out: Path, progress: Any = None, **options: Any) -> Report:
    return translate_folder(Translator(Same(), 3, 3), source, out, Options(**options), progress)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = write_pictures(tmp_path / "in", 24, side=16)
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "readme.txt").write_text("text")
    return folder


def test_summary_counts_what_each_shard_wrote_and_names_what_failed(
    source: Path, tmp_path: Path
) -> None:
    reports = [run(source, tmp_path / "out", shard=(index, 3)) for index in range(3)]
    summary = summarize(tmp_path / "out")
    assert [shard.written for shard in summary.shards] == [one.written for one in reports]
    assert [list(shard.failed) for shard in summary.shards] == [
        [path for path, _ in one.failed] for one in reports
    ]
    assert (summary.missing, summary.left, summary.complete) == ([], 0, False)
    status, out, err = here("translate", "--summary", tmp_path / "out")
    assert (status, out.splitlines()[-1]) == (1, "24 images written, 1 failed, 0 left")
    assert err.count("failed: bad.png: not an image of a known format") == 1
    assert str(source) in out.splitlines()[0]
    (source / "bad.png").unlink()
    for index in range(3):
        run(source, tmp_path / "out", shard=(index, 3))
    status, out, _ = here("translate", "--summary", tmp_path / "out")
    assert (status, out.splitlines()[-1]) == (0, "24 images written, 0 failed, 0 left")


def test_summary_says_which_shards_never_began_and_how_much_that_leaves(
    source: Path, tmp_path: Path
) -> None:
    written = sum(run(source, tmp_path / "out", shard=(i, 5)).written for i in (1, 3))
    status, out, _ = here("translate", "--summary", tmp_path / "out", "--json")
    summary = json.loads(out)
    assert (status, summary["missing"], summary["complete"]) == (1, [0, 2, 4], False)
    failed = sum(len(shard["failed"]) for shard in summary["shards"])
    assert summary["left"] == 25 - written - failed
    assert run(source, tmp_path / "out").skipped == written  # one process does the rest
    assert summarize(tmp_path / "out").missing == []
    assert summarize(tmp_path / "out").shards[0].done == written


def test_summary_of_a_killed_shard_has_what_is_left_and_no_end(
    source: Path, tmp_path: Path
) -> None:
    def die(done: int, total: int) -> None:
        if done == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    (source / "bad.png").unlink()
    process = start(run, source, tmp_path / "out", die)
    process.join()
    summary = summarize(tmp_path / "out")
    (shard,) = summary.shards
    assert (shard.tasks, shard.ignored, shard.left) == (24, None, 24 - shard.written)
    assert "at work or stopped" in here("translate", "--summary", tmp_path / "out").out
    run(source, tmp_path / "out")
    assert here("translate", "--summary", tmp_path / "out").status == 0


def test_file_that_killed_an_earlier_run_is_listed_as_failed(source: Path, tmp_path: Path) -> None:
    (source / "bad.png").unlink()
    run(source, tmp_path / "out")
    record = tmp_path / "out/.i2i-manifest.jsonl"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    one = next(line for line in lines if line["status"] == "written")
    (tmp_path / "out" / one["output"]).unlink()
    started = one | {"status": "started", "time_ns": one["time_ns"] + 10**9}
    record.write_text("".join(json.dumps(line) + "\n" for line in [*lines, started]))
    assert len(run(source, tmp_path / "out").failed) == 1
    (shard,) = summarize(tmp_path / "out").shards
    assert shard.failed.keys() == {one["path"]}
    assert "killed" in shard.failed[one["path"]]


def test_record_of_an_earlier_version_is_summarized_without_what_it_does_not_say(
    tmp_path: Path,
) -> None:
    out = shutil.copytree(FIXTURE, tmp_path / "out")
    summary = summarize(out)
    written = {line["path"] for line in map(json.loads, (out / ".i2i-manifest.jsonl").open())}
    assert summary.shards[0].written == len(written)
    assert (summary.left, summary.complete) == (None, False)
    status, text, _ = here("translate", "--summary", out)
    assert status == 1
    assert "what is left was not recorded: run the command again" in text


def test_summary_of_the_job_that_continued_an_earlier_version_is_complete(
    source: Path, tmp_path: Path
) -> None:
    (source / "bad.png").unlink()
    run(source, tmp_path / "out")
    record = tmp_path / "out/.i2i-manifest.jsonl"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    old = [line for line in lines if line["status"] != "job"]
    record.write_text("".join(json.dumps(line) + "\n" for line in old))
    assert summarize(tmp_path / "out").left is None
    assert run(source, tmp_path / "out").skipped == 24
    assert summarize(tmp_path / "out").complete


def test_summary_loads_no_model_and_takes_nothing_else(tmp_path: Path, source: Path) -> None:
    run(source, tmp_path / "out")
    code = (
        "import sys; from i2i.cli import main\n"
        f"sys.argv = ['i2i', 'translate', '--summary', {str(tmp_path / 'out')!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 1, end.code\n"
        "assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for words in (["model"], ["model", source, "out"], ["--size", "4"], ["--overwrite"]):
        assert here("translate", "--summary", tmp_path / "out", *words).status == 2
    assert here("translate", write_model(tmp_path / "model", "resnet"), source, tmp_path / "x", "--json").status == 2  # fmt: skip
    with pytest.raises(TranslationError, match="holds no record"):
        summarize(source)
