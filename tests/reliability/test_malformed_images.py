"""A thousand files, odd, hopeless or damaged: none stops a job, each is accounted for, and memory is bounded."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from malformed import malformed, picture, saved
from peaks import MEBIBYTE, measure

from i2i import registry
from i2i.config import Layer, parse_override
from i2i.data.check import check_folder
from i2i.run.train import Request, train
from i2i.translation.folder import translate_folder
from i2i.translation.options import Options
from i2i.translation.translator import Translator

LIMIT = 600 * MEBIBYTE
SHALLOW = [
    "generator.width=4",
    "method.latent=5",
    "discriminator.width=4",
    "train.batch=2",
    "data.workers=0",
]
SHALLOW += [
    "data.load_size=16",
    "data.crop_size=16",
    "data.resize=shorter",
    "log.samples=2",
    "log.tensorboard=false",
]


@functools.cache
def _malformed(count: int) -> list[tuple[str, bytes]]:
    return list(malformed(count))


@pytest.fixture
def folder(tmp_path: Path, thorough: bool) -> Path:
    """A folder of malformed files; 1,000 of them where it is thorough."""
    root = tmp_path / "in"
    root.mkdir()
    for name, content in _malformed(1000 if thorough else 450):
        (root / name).write_bytes(content)
    (root / "bad-link.png").symlink_to(root / "missing.png")
    os.mkfifo(root / "bad-pipe.jpg")
    return root


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder of two good images."""
    root = tmp_path / "good"
    root.mkdir()
    for name in ("one", "two"):
        (root / f"{name}.png").write_bytes(saved(picture(), "PNG"))
    return root


def assert_sorted_out(folder: Path, refused: dict[str, str]) -> None:
    """Hold that every hopeless file is refused, every odd one read, and every reason worth reading."""
    names = {path.name for path in folder.iterdir()}
    assert set(refused) <= names
    assert {name for name in names if name.startswith("bad-")} <= set(refused)
    assert not {name: reason for name, reason in refused.items() if name.startswith("good-")}
    for name, reason in refused.items():
        assert len(reason) >= 10, f"{name}: {reason!r}"
        assert "\n" not in reason, f"{name}: {reason!r}"


def test_translating_writes_or_lists_every_malformed_image(
    folder: Path, good: Path, tmp_path: Path
) -> None:
    def load() -> Translator:
        torch.manual_seed(0)
        network = registry.find("generators", "resnet").factory(3, 3, blocks=1, width=4)
        translator = Translator(network, 3, 3, device="cpu")
        assert translate_folder(translator, good, tmp_path / "first").written == 2
        return translator

    def work(translator: Translator) -> Any:
        report = translate_folder(translator, folder, tmp_path / "out", Options(threads=8))
        return report.written, dict(report.failed)

    done = measure(load, work, tmp_path)
    written, failed = done.answer
    assert_sorted_out(folder, failed)
    assert written + len(failed) == len(list(folder.iterdir()))
    outputs = {
        path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".i2i-")
    }
    assert outputs == {path.name for path in folder.iterdir()} - set(failed)
    assert done.growth < LIMIT
    assert not done.said


def test_checking_counts_or_lists_every_malformed_image(
    folder: Path, good: Path, tmp_path: Path
) -> None:
    def work(_: object) -> Any:
        report = check_folder(folder)
        unreadable = next(issue for issue in report.issues if issue.name == "unreadable")
        (group,) = report.groups
        return (
            group.files,
            sum(group.formats.values()),
            dict(zip(unreadable.files, unreadable.reasons, strict=True)),
        )

    done = measure(lambda: check_folder(good), work, tmp_path)
    files, read, unreadable = done.answer
    assert_sorted_out(folder, unreadable)
    assert files == len(list(folder.iterdir()))
    assert read == files - len(unreadable)
    assert done.growth < LIMIT
    assert not done.said


@pytest.mark.parametrize("verify", [5000, 0], ids=["decoded_before", "decoded_as_met"])
def test_a_training_epoch_leaves_every_malformed_image_out_by_name(
    folder: Path, good: Path, tmp_path: Path, verify: int
) -> None:
    def epoch(data: Path, out: Path) -> None:
        texts = [
            *SHALLOW,
            "train.epochs=1",
            "data.on_bad_file=skip",
            f"data.decode_check_limit={verify}",
        ]
        layers = [Layer("test", {"data": {"root": str(data)}}), *map(parse_override, texts)]
        outcome = train(Request("dcgan", layers, run=str(out), device="cpu"))
        assert outcome is not None
        assert outcome.finished

    done = measure(
        lambda: epoch(good, tmp_path / "first"), lambda _: epoch(folder, tmp_path / "run"), tmp_path
    )
    refused = dict(_skipped(line, folder) for line in done.said.splitlines() if str(folder) in line)
    assert_sorted_out(folder, refused)
    assert done.growth < LIMIT
    others = [line for line in done.said.splitlines() if str(folder) not in line]
    assert len(others) < 60, "decoders talk: " + "\n".join(others)


def _skipped(line: str, folder: Path) -> tuple[str, str]:
    rule, _, file = line.partition(f"{folder}/")
    name, size, _ = file.partition(" is ")  # "skipped, constant: FILE is 48x48"
    if size and ": " not in name:
        return name, rule
    name, _, reason = file.partition(": ")
    return name, reason


def test_decoders_say_nothing_on_the_terminal(folder: Path) -> None:
    code = (
        f"from i2i.data.check import check_folder; print(len(check_folder({str(folder)!r}).clean))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 20
    assert done.stderr == ""
