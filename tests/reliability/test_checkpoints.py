"""Checkpoints killed while they are written, cut, flipped, mixed up: what is damaged is named and never used."""

import random
import shutil
from pathlib import Path

import pytest
import torch
from processes import kill_after, start
from runs import command, draw_scenes, train_words

from i2i import checkpoint
from i2i.checkpoint import CHECKPOINTS, MANIFEST, STATE, WEIGHTS, CheckpointError
from i2i.files import remove_temporaries, write_atomically
from i2i.model_file import GeneratorInfo, ModelFileError, ModelInfo, load_model, model_bytes

SHAPE = (
    1 << 20,
)  # 4 MiB, and as much again for the weights: long enough to be killed in the midst


def publish(run: Path, images: int) -> None:
    """Write a checkpoint whose content says its number, as the training loop does."""
    content = torch.full(SHAPE, float(images))
    part = GeneratorInfo(name="unet", options={}, in_channels=3, out_channels=3)
    info = ModelInfo(
        method="test", generators={"a2b": part}, direction="a2b", facts={"images": images}
    )
    weights = model_bytes(info, {"a2b/weight": content})
    checkpoint.publish(
        run / CHECKPOINTS, images, {"images": images, "content": content}, weights, keep=2
    )
    write_atomically(run / WEIGHTS, weights)


def publish_for_ever(run: Path) -> None:
    torch.set_num_threads(1)
    for images in range(2, 10**6):
        publish(run, images)


def test_run_killed_at_any_moment_of_saving_continues_from_a_good_checkpoint(
    thorough: bool, tmp_path: Path
) -> None:
    chance, killed, left = random.Random(1), 0, 0
    for trial in range(50 if thorough else 8):
        run = tmp_path / f"run{trial}"
        publish(run, 1)
        killed += kill_after(start(publish_for_ever, run), chance.uniform(0.02, 0.5))
        path, damaged = checkpoint.newest(run / CHECKPOINTS)
        images = checkpoint.load_state(path)["images"]
        assert damaged == []
        assert path.name == f"step-{images:08d}"
        assert torch.equal(checkpoint.load_state(path)["content"], torch.full(SHAPE, float(images)))
        # the run's own weights are whole too, and at most one checkpoint behind
        assert load_model(run).info.facts["images"] in (images, images - 1)
        left += len(list(run.rglob("*.tmp-*")))
        for folder in (run, run / CHECKPOINTS):
            remove_temporaries(folder)
        assert not list(run.rglob("*.tmp-*"))
        shutil.rmtree(run)
    assert killed == (50 if thorough else 8)
    assert left, "no trial was killed while it wrote"


@pytest.fixture(scope="module")
def two_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of pix2pix with checkpoints after 2 and 4 images."""
    root = tmp_path_factory.mktemp("damage")
    words = train_words("pix2pix", draw_scenes(root, 10), root / "run", "--images", "4")
    process = start(command, [*words, "--set", "train.checkpoint_every_images=2"], root / "log")
    process.join(120)
    assert process.exitcode == 0, (root / "log").read_text()
    return root / "run"


def falls_back(folder: Path, name: str) -> bool:
    """Return True if the newest checkpoint is skipped, its file named, and the one before used."""
    path, damaged = checkpoint.newest(folder)
    return (
        path.name == "step-00000002" and len(damaged) == 1 and f"step-00000004/{name}" in damaged[0]
    )


def test_checkpoint_cut_anywhere_or_with_any_bit_flipped_is_named_and_skipped(
    two_checkpoints: Path,
) -> None:
    folder, chance, found = two_checkpoints / CHECKPOINTS, random.Random(2), 0
    names = (STATE, WEIGHTS, MANIFEST)
    for trial in range(100):
        name = names[trial % 3]
        path = folder / "step-00000004" / name
        whole = path.read_bytes()
        if trial < 50:
            broken = whole[: chance.randrange(len(whole))] if trial >= 3 else b""
        else:
            position = chance.randrange(len(whole))
            broken = (
                whole[:position]
                + bytes([whole[position] ^ 1 << chance.randrange(8)])
                + whole[position + 1 :]
            )
        path.write_bytes(broken)
        found += falls_back(folder, name)
        path.write_bytes(whole)
    assert found == 100
    assert checkpoint.newest(folder)[0].name == "step-00000004"


def test_every_single_bit_of_a_manifest_counts(two_checkpoints: Path, thorough: bool) -> None:
    path = two_checkpoints / CHECKPOINTS / "step-00000004" / MANIFEST
    whole = path.read_bytes()
    try:
        for position in range(0, len(whole), 1 if thorough else 7):
            for bit in range(8):
                path.write_bytes(
                    whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :]
                )
                with pytest.raises((CheckpointError, ModelFileError), match="step-00000004"):
                    checkpoint.verify(path.parent)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(
    "names", [(STATE,), (WEIGHTS,), (MANIFEST,), (STATE, WEIGHTS), (STATE, WEIGHTS, MANIFEST)]
)
def test_files_of_another_checkpoint_are_named_and_skipped(
    names: tuple[str, ...], two_checkpoints: Path
) -> None:
    folder = two_checkpoints / CHECKPOINTS
    old, new = folder / "step-00000002", folder / "step-00000004"
    kept = {name: (new / name).read_bytes() for name in names}
    for name in names:
        shutil.copyfile(old / name, new / name)
    assert falls_back(folder, names[-1] if MANIFEST in names else names[0])
    for name in names:
        (new / name).unlink()
    assert falls_back(folder, MANIFEST if MANIFEST in names else names[0])
    for name, content in kept.items():
        (new / name).write_bytes(content)


def test_resumed_run_says_which_checkpoint_is_damaged_and_continues_from_the_one_before(
    two_checkpoints: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(two_checkpoints, run)
    state = run / CHECKPOINTS / "step-00000004" / STATE
    state.write_bytes(state.read_bytes()[:1000])
    process = start(command, ["train", "pix2pix", "--resume", str(run), "--device", "cpu"], log)
    process.join(120)
    assert process.exitcode == 0
    assert f"skipped a damaged checkpoint: {state}: corrupt (sha256 mismatch)" in log.read_text()
    assert "resuming from" in log.read_text()
    assert checkpoint.newest(run / CHECKPOINTS)[0].name == "step-00000004"
    assert (run / WEIGHTS).read_bytes() == (two_checkpoints / WEIGHTS).read_bytes()


def test_run_without_any_good_checkpoint_names_all_of_them(
    two_checkpoints: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "log"
    shutil.copytree(two_checkpoints, run)
    for path in run.rglob(STATE):
        path.write_bytes(b"")
    process = start(command, ["train", "pix2pix", "--resume", str(run), "--device", "cpu"], log)
    process.join(120)
    assert process.exitcode == 2
    assert "no checkpoint that can be resumed" in log.read_text()
    for images in (0, 2, 4):
        assert f"step-{images:08d}/state.pt: corrupt (sha256 mismatch)" in log.read_text()
