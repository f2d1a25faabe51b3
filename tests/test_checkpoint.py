"""What is on disk is whole, or is named as damaged."""

import json
import os
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from i2i import checkpoint
from i2i.checkpoint import CheckpointError
from i2i.files import DiskFullError, remove_temporaries, write_atomically
from i2i.lock import InUseError, check_held, exclusive
from i2i.model_file import (
    GeneratorInfo,
    ModelFileError,
    ModelInfo,
    load_model,
    model_bytes,
    save_model,
)

TENSORS = {"a2b/weight": torch.arange(6.0).reshape(2, 3)}
INFO = ModelInfo(
    method="test",
    generators={"a2b": GeneratorInfo(name="unet", options={}, in_channels=3, out_channels=3)},
    direction="a2b",
)


def publish(folder: Path, images: int, keep: int = 3) -> Path:
    weights = model_bytes(INFO, TENSORS)
    return checkpoint.publish(
        folder, images, {"images": images, "x": torch.ones(1000) * images}, weights, keep
    )


def test_weights_come_back_with_their_description(tmp_path: Path) -> None:
    save_model(tmp_path / "w.safetensors", INFO, TENSORS)
    model = load_model(tmp_path / "w.safetensors")
    assert torch.equal(model.tensors["a2b/weight"], TENSORS["a2b/weight"])
    assert model.info == INFO


def test_newest_good_checkpoint_is_found_and_damaged_ones_are_named(tmp_path: Path) -> None:
    for images in (10, 20, 30):
        publish(tmp_path, images)
    state = tmp_path / "step-00000030" / checkpoint.STATE
    state.write_bytes(state.read_bytes()[:-5])
    path, damaged = checkpoint.newest(tmp_path)
    assert path.name == "step-00000020"
    assert len(damaged) == 1
    assert "step-00000030" in damaged[0]
    assert checkpoint.load_state(path)["images"] == 20


def test_flipped_bit_and_file_of_another_checkpoint_are_detected(tmp_path: Path) -> None:
    first, second = publish(tmp_path, 10), publish(tmp_path, 20)
    state = bytearray((first / checkpoint.STATE).read_bytes())
    state[len(state) // 2] ^= 1
    (first / checkpoint.STATE).write_bytes(state)
    with pytest.raises(CheckpointError, match="sha256"):
        checkpoint.verify(first)
    (second / checkpoint.MANIFEST).write_bytes((first / checkpoint.MANIFEST).read_bytes())
    with pytest.raises(CheckpointError, match="another checkpoint"):
        checkpoint.verify(second)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for images in (10, 20, 30, 40):
        publish(tmp_path, images, keep=2)
    assert [images for images, _ in checkpoint.steps(tmp_path)] == [30, 40]
    assert json.loads((tmp_path / "latest.json").read_text()) == {"step": "step-00000040"}


def test_linked_checkpoint_is_read_and_neither_pruned_nor_written_through(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    link = run / "step-00000010"
    publish(run, 10).rename(elsewhere)
    link.symlink_to(elsewhere)
    before = {path.name: path.read_bytes() for path in elsewhere.iterdir()}
    assert checkpoint.newest(run) == (link, [])
    for images in (20, 30, 40):
        publish(run, images, keep=2)
    assert [images for images, _ in checkpoint.steps(run)] == [10, 30, 40]
    publish(run, 10, keep=2)
    assert not link.is_symlink()
    checkpoint.verify(link)
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == before


def test_checkpoint_written_again_keeps_what_others_put_into_it(tmp_path: Path) -> None:
    for text in ("first", "second"):
        (publish(tmp_path, 10) / "notes.txt").write_text(text)
    checkpoint.verify(publish(tmp_path, 10))
    kept = {path.parent.name: path.read_text() for path in tmp_path.glob("*.kept*/*")}
    assert kept == {"step-00000010.kept": "first", "step-00000010.kept1": "second"}


def test_file_or_dangling_link_gives_way_to_a_checkpoint_and_the_file_is_kept(
    tmp_path: Path,
) -> None:
    (tmp_path / "step-00000010").write_text("mine")
    (tmp_path / "step-00000020").symlink_to(tmp_path / "nothing")
    for images in (10, 20):
        checkpoint.verify(publish(tmp_path, images))
    assert (tmp_path / "step-00000010.kept").read_text() == "mine"
    assert not (tmp_path / "nothing").exists()


def test_full_disk_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFullError, match="nothing was replaced"):
        write_atomically(path, b"new")
    with pytest.raises(DiskFullError):
        publish(tmp_path / "steps", 10)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.rglob("*") if "tmp" in p.name] == []


@pytest.mark.parametrize(
    ("free", "sizes"),
    [(5700, "needs 7 KiB, 5 KiB are free"), (0, "needs 7 KiB, 0 KiB are free")],
)
def test_small_room_is_said_in_kib(
    free: int, sizes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=1 << 30, free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DiskFullError, match=sizes):  # for 1.2 * (4000 + 976) bytes
        publish(tmp_path, 10)
    assert not list(tmp_path.iterdir())


def test_temporaries_are_removed_whoever_wrote_them_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "step-00000010.tmp-999999998").mkdir()
    (
        tmp_path / f".x.png.tmp-{os.getpid()}"
    ).touch()  # in a container, numbers of processes come again
    for name in ("x.png", "step-00000010", "notes.tmp", ".hidden"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "x.png",
        "step-00000010",
        "notes.tmp",
        ".hidden",
    }


def test_damaged_later_checkpoint_does_not_push_out_the_good_ones(tmp_path: Path) -> None:
    for images in (10, 20, 30):
        publish(tmp_path, images, keep=2)
    (tmp_path / "step-00000030" / checkpoint.STATE).write_bytes(b"")
    publish(tmp_path, 25, keep=1)
    path, damaged = checkpoint.newest(tmp_path)
    assert path.name == "step-00000025"
    assert len(damaged) == 1


def test_flipped_bit_in_a_weights_file_is_found(tmp_path: Path) -> None:
    content = model_bytes(INFO, TENSORS)
    for position in (len(content) - 1, len(content) // 2, content.index(b"direction")):
        broken = bytearray(content)
        broken[position] ^= 1
        (tmp_path / "w.safetensors").write_bytes(broken)
        with pytest.raises(ModelFileError, match="safetensors"):
            load_model(tmp_path / "w.safetensors")


def test_pipe_instead_of_a_weights_file_is_named_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / checkpoint.WEIGHTS)
    with pytest.raises(ModelFileError, match=r"weights\.safetensors: not a regular file"):
        load_model(tmp_path)


class Malicious:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    folder = tmp_path / "step-00000010"
    folder.mkdir()
    torch.save({"images": Malicious(marker)}, folder / checkpoint.STATE)
    (tmp_path / checkpoint.WEIGHTS).write_bytes(pickle.dumps(Malicious(marker)))
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        checkpoint.load_state(folder)
    with pytest.raises(ModelFileError, match="not a readable weights file"):
        load_model(tmp_path / checkpoint.WEIGHTS)
    assert not marker.exists()


def test_second_writer_of_a_run_is_refused_and_a_dead_ones_lock_is_free(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        f"from i2i.lock import check_held; from pathlib import Path\ncheck_held(Path({str(tmp_path)!r}))\n"
        "import sys; assert 'torch' not in sys.modules"
    )
    check_held(tmp_path / "nothing here yet")
    with exclusive(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        assert InUseError.__name__ in done.stderr
        assert str(os.getpid()) in done.stderr
    assert (tmp_path / ".lock").exists()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
