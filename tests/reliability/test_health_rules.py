"""Each failure is reported by a training that has it, none by a healthy one; resumed runs repeat none."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import fitting
from torch import Tensor, nn

from i2i import config, registry
from i2i.checkpoint import steps
from i2i.config import Layer
from i2i.execution import Execution
from i2i.files import read_rows
from i2i.run import build
from i2i.run.settings import resolve
from i2i.run.train import Request, train
from i2i.scenes import write_dataset
from i2i.training import health
from i2i.training.trainer import Trainer

KINDS = dict.fromkeys(["pix2pix", "regress", "cyclegan"], "facades")
KINDS |= {"cut": "orchard", "dcgan": "portraits"}
SMALL = {
    "pix2pix": ["generator.name=unet", "generator.depth=4", "generator.width=8", "train.batch=2"],
    "regress": ["generator.name=unet", "generator.depth=4", "generator.width=8", "train.batch=2"],
    "cyclegan": ["generator.name=resnet", "generator.blocks=1", "generator.width=4"],
    "cut": [
        "generator.name=resnet",
        "generator.blocks=1",
        "generator.width=4",
        "method.patches=16",
    ],
    "dcgan": ["generator.width=8", "method.latent=16", "train.batch=8"],
}
ROW = 10  # updates


@pytest.fixture(autouse=True)
def window(thorough: bool, monkeypatch: pytest.MonkeyPatch) -> int:
    """Updates until the rules report; by default they wait for fewer than in a user's run."""
    if not thorough:
        monkeypatch.setattr(health, "GRACE_UPDATES", 30)
        monkeypatch.setattr(health, "WINDOW_UPDATES", 90)
    return health.GRACE_UPDATES + health.WINDOW_UPDATES


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("scenes")
    for kind, unpaired in (("facades", False), ("orchard", True), ("portraits", False)):
        write_dataset(kind, root / kind, 60, 32, seed=1, unpaired=unpaired)
    return {method: root / kind for method, kind in KINDS.items()}


def layers(method: str, data: Path, *overrides: str) -> list[Layer]:
    common = [
        "data.load_size=36",
        "data.crop_size=32",
        "data.workers=0",
        "discriminator.width=8",
        "train.total_images=50000",
    ]
    common += [] if method == "dcgan" else ["discriminator.layers=1"]
    texts = fitting(method, [*common, *SMALL[method], *overrides])
    return [Layer("test", {"data": {"root": str(data)}}), *map(config.parse_override, texts)]


def reported(
    method: str,
    data: Path,
    *overrides: str,
    damage_method: Callable[[Any], None] | None = None,
    windows: int = 1,
) -> list[str]:
    """Train, and return what the rules report."""
    updates = windows * (health.GRACE_UPDATES + health.WINDOW_UPDATES + ROW)
    settings = resolve(method, layers(method, data, *overrides))
    dataset = build.open_data(settings)
    torch.manual_seed(0)
    networks = build.make_method(settings, dataset.channels)
    if damage_method:
        damage_method(networks)
    trainer = Trainer(networks, settings.train, settings.optim, torch.device("cpu"), Execution())
    rules = build.health(networks, settings, processes=1)
    samples = [dataset.fixed(index) for index in range(len(dataset))]
    lines = []
    for update in range(1, updates + 1):
        chosen = [
            samples[int(torch.randint(len(samples), ()))] for _ in range(settings.train.batch)
        ]
        trainer.step(
            [{name: torch.stack([sample[name] for sample in chosen]) for name in chosen[0]}]
        )
        if update % ROW == 0:
            lines += rules.update({"images": trainer.images} | trainer.pop_metrics())
    return lines


class InputBlind(nn.Module):
    """A generator whose output does not depend on its input."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.net(torch.ones_like(x[:1]))
        return output.expand(len(x), -1, -1, -1)


class Negative(nn.Module):
    """A generator that begins by inverting its input."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, channels, 1)
        self.mix.weight.data = -torch.eye(channels).view(channels, channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(x).clamp(-1, 1)


def ignore_input(method: Any) -> None:
    method.G = InputBlind(method.G)


def saturate(method: Any) -> None:
    *_, head = [
        layer for layer in method.G.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]
    head.weight.data *= 1e4


def invert(method: Any) -> None:
    method.G_ab, method.G_ba = Negative(), Negative()


def names(lines: list[str]) -> list[str]:
    """Return the rules that reported, but for that of the grid of every transposed convolution."""
    return [name for line in lines if (name := line.split(":")[0]) != "grid"]


def test_discriminator_that_learns_far_faster_is_reported_to_win(scenes: dict[str, Path]) -> None:
    lines = reported("dcgan", scenes["dcgan"], "optim.lr=1e-7", "optim.lr_discriminator=2e-3")
    assert names(lines)[0] == "D wins"
    assert "optim.lr_discriminator=0.0005" in lines[0]
    assert names(lines)[1:] == ["mode collapse"], "G is where it began, and its images with it"


def test_discriminator_that_does_not_learn_is_reported_to_guess(scenes: dict[str, Path]) -> None:
    assert names(reported("pix2pix", scenes["pix2pix"], "optim.lr_discriminator=1e-12")) == [
        "D guesses"
    ]


def test_generator_that_ignores_its_input_is_reported_to_have_collapsed(
    scenes: dict[str, Path],
) -> None:
    assert names(reported("pix2pix", scenes["pix2pix"], damage_method=ignore_input)) == [
        "mode collapse"
    ]


def test_generator_whose_output_is_saturated_is_reported_to_be_stuck(
    scenes: dict[str, Path],
) -> None:
    assert names(reported("pix2pix", scenes["pix2pix"], damage_method=saturate)) == ["G stuck"]


def test_generators_that_invert_their_input_are_reported_to_invert(scenes: dict[str, Path]) -> None:
    assert names(
        reported("cyclegan", scenes["cut"], "method.lambda_identity=0", damage_method=invert)
    ) == ["color inversion"]


def test_transposed_convolutions_of_a_healthy_training_are_reported_to_leave_a_grid(
    scenes: dict[str, Path],
) -> None:
    lines = reported("dcgan", scenes["dcgan"])
    assert any(line.startswith("grid: image/grid") for line in lines)
    assert any(health.GRID_ADVICE.replace(" ", " and ") in line for line in lines)


@pytest.mark.parametrize("method", registry.names("methods"))
def test_nothing_is_reported_about_healthy_training(
    method: str, scenes: dict[str, Path], thorough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not thorough:  # healthy training looks failing at first, and for some updates later on
        monkeypatch.setattr(health, "GRACE_UPDATES", 100)
        monkeypatch.setattr(health, "WINDOW_UPDATES", 130)
    without_grid = "generator.upsample=bilinear"
    assert reported(method, scenes[method], without_grid, windows=3 if thorough else 1) == []


def rows(run: Path) -> list[dict[str, float]]:
    clocks = ("images_per_second", "data_wait")
    return [
        {k: v for k, v in row.items() if k not in clocks}
        for row in read_rows(run / "metrics.jsonl")
    ]


def test_resumed_run_has_the_rows_and_events_of_an_uninterrupted_one_and_repeats_none(
    scenes: dict[str, Path], window: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(scenes["dcgan"], data)
    damage(sorted(data.rglob("*.png"))[7])
    failing = [
        "optim.lr=1e-7",
        "optim.lr_discriminator=2e-3",
        "data.on_bad_file=skip",
        "data.decode_check_limit=0",
    ]
    length = [
        "train.batch=2",
        f"train.total_images={2 * (window + 2 * ROW)}",
        "log.every_images=20",
        "log.tensorboard=false",
    ]
    kept = [
        f"train.checkpoint_every_images={2 * window // 4}",
        "train.keep_checkpoints=9",
        "log.samples=1",
    ]
    reference = tmp_path / "reference"
    train(
        Request(
            "dcgan", layers("dcgan", data, *failing, *length, *kept), str(reference), device="cpu"
        )
    )
    events = read_rows(reference / "events.jsonl")
    assert names([event["text"] for event in events if event["kind"] == "health"])[0] == "D wins"
    assert [event["text"].split()[0] for event in events if event["kind"] == "data"] == ["skipped"]
    assert all(
        event["text"].split(":")[0] in (reference / "report.html").read_text("utf-8")
        for event in events
    )
    for part in (2, 4):  # before the failure was reported, and after
        broken = tmp_path / f"broken-{part}"
        shutil.copytree(reference, broken)
        for images, path in steps(broken / "checkpoints"):
            if images > part * 2 * window // 4:
                shutil.rmtree(path)
        capfd.readouterr()
        train(Request("dcgan", [], str(broken), resume=True, device="cpu"))
        assert rows(broken) == rows(reference)
        assert read_rows(broken / "events.jsonl") == events
        assert ("D wins" in capfd.readouterr().err) == (part == 2)


def damage(path: Path) -> None:
    """Spoil the pixels of a PNG behind an intact header."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_page_of_a_run_that_was_stopped_by_its_time_limit_says_so(
    scenes: dict[str, Path], tmp_path: Path
) -> None:
    short = ["train.max_minutes=0.00001", "log.tensorboard=false", "log.samples=1"]
    outcome = train(
        Request(
            "dcgan", layers("dcgan", scenes["dcgan"], *short), str(tmp_path / "run"), device="cpu"
        )
    )
    assert outcome is not None
    assert not outcome.finished
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "stopped by train.max_minutes" in page
    assert "data:image/jpeg;base64," in page


def test_page_that_cannot_be_written_costs_a_line_and_nothing_else(
    scenes: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, short = (
        tmp_path / "run",
        ["train.total_images=8", "log.tensorboard=false", "log.samples=1"],
    )
    train(Request("dcgan", layers("dcgan", scenes["dcgan"], *short), str(run), device="cpu"))
    (run / "report.html").unlink()
    (run / "report.html").mkdir()  # what is in the way cannot be replaced
    outcome = train(
        Request(
            "dcgan",
            [config.parse_override("train.total_images=16")],
            str(run),
            resume=True,
            device="cpu",
        )
    )
    assert outcome is not None
    assert outcome.finished
    assert "report.html: cannot be written" in capfd.readouterr().err
