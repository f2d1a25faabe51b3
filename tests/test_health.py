"""Rules on rows: when they report, when not, and that a method accepts what they advise for it."""

import itertools
import re
from collections.abc import Mapping

import pytest
import torch
from runs import fitting

from i2i import config, registry
from i2i.config import Layer
from i2i.losses.adversarial import OBJECTIVES
from i2i.run import build
from i2i.run.settings import has_discriminator, resolve
from i2i.training import health
from i2i.training.health import GRACE_UPDATES, RULES, WINDOW_UPDATES, Health, RunInfo

WON = {"D/real": 0.001, "D/fake": 0.001, "D/accuracy_real": 1.0, "D/accuracy_fake": 1.0}
EVEN = {"D/real": 0.2, "D/fake": 0.25, "D/accuracy_real": 0.8, "D/accuracy_fake": 0.75}
LOST = {"D/real": 0.347, "D/fake": 0.347, "D/accuracy_real": 0.6, "D/accuracy_fake": 0.4}
SAME = {"b/diversity": 0.05}
INVERTED = {"b/correlation": -0.9}
SATURATED = {"b/saturation": 0.95, "b/saturation_real": 0.1}
WITHOUT_GRADIENT = {"G/grad_norm": 1e-9}
GRIDDED = {"b/grid": 12.0}
NEEDED = {"pix2pix": "paired", "cyclegan": "unpaired", "cut": "unpaired", "dcgan": "unconditional"}


def run_info(
    method: str = "pix2pix", *overrides: str, batch: int = 1, chance_loss: float | None = 0.693
) -> RunInfo:
    layers = [Layer("test", {"data": {"root": "x"}}), *map(config.parse_override, overrides)]
    return RunInfo(resolve(method, layers).to_dict(), batch, chance_loss)


def report(
    rows: list[Mapping[str, float]], info: RunInfo | None = None, images: int = 100
) -> list[str]:
    """Return what is reported about rows that are `images` apart."""
    health = Health(info or run_info())
    return [
        line
        for n, row in enumerate(rows, 1)
        for line in health.update({"images": n * images} | dict(row))
    ]


@pytest.mark.parametrize(
    ("row", "name", "advice"),
    [
        (WON, "D wins", "method.r1=1"),
        (LOST, "D guesses", "method.d_steps=2"),
        (SAME, "mode collapse", "method.augment=diffaugment"),
        (SATURATED, "G stuck", "optim.clip=1"),
        (WITHOUT_GRADIENT, "G stuck", "optim.clip=1"),
        (GRIDDED, "grid", health.GRID_ADVICE.replace(" ", " and ")),
    ],
)
def test_lasting_failure_is_reported_once_with_what_to_try(
    row: dict[str, float], name: str, advice: str
) -> None:
    (line,) = report([EVEN] * 3 + [row] * 30 + [EVEN] * 3 + [row] * 30)
    assert line.startswith(f"{name}: ")
    assert advice in line


def test_inversion_is_reported_with_the_setting_of_its_own_method() -> None:
    (line,) = report([INVERTED] * 30, run_info("cyclegan"))
    assert "method.lambda_identity=1" in line
    assert "nce_identity" not in line
    (line,) = report(
        [INVERTED] * 30, run_info("cut", "method.fast=true", "method.nce_identity=false")
    )
    assert "method.nce_identity=true" in line


@pytest.mark.parametrize("row", [WON, LOST, SAME, SATURATED, WITHOUT_GRADIENT, INVERTED, GRIDDED])
def test_first_moments_and_short_dips_are_not_reported(row: dict[str, float]) -> None:
    assert report([row] * ((GRACE_UPDATES + WINDOW_UPDATES) // 10 - 1), images=10) == []
    assert report(([EVEN] * 5 + [row] * (WINDOW_UPDATES // 10 - 1)) * 5, images=10) == []


def test_rows_of_few_updates_make_a_window_of_many_of_them() -> None:
    """Batches of 100: a row is one update, so it takes hundreds."""
    assert report([WON] * (GRACE_UPDATES + WINDOW_UPDATES - 1), run_info(batch=100)) == []
    assert len(report([WON] * (GRACE_UPDATES + WINDOW_UPDATES), run_info(batch=100))) == 1


def test_long_rows_still_take_three() -> None:
    assert report([WON] * 2, images=100_000) == []
    assert len(report([WON] * 3, images=100_000)) == 1


def test_grid_below_its_limit_is_silent_and_has_no_advice_that_the_run_follows_already() -> None:
    assert report([{"b/grid": health.GRID}] * 30) == []
    (line,) = report([GRIDDED] * 30, run_info("pix2pix", *health.GRID_ADVICE.split()))
    assert line.startswith("grid: b/grid, ")
    assert "12.0 dB" in line
    assert "To try" not in line


def test_reals_that_are_black_and_white_themselves_do_not_make_a_generator_stuck() -> None:
    assert report([{"b/saturation": 0.95, "b/saturation_real": 0.9}] * 30) == []


def test_one_of_two_discriminators_is_enough_and_is_named() -> None:
    failing = {
        name.replace("D/acc", "D_b/acc") if "acc" in name else f"{name}_b": value
        for name, value in WON.items()
    }
    healthy = {
        name.replace("D/acc", "D_a/acc") if "acc" in name else f"{name}_a": value
        for name, value in EVEN.items()
    }
    (line,) = report([failing | healthy] * 30)
    assert line.startswith("D wins: D_b classifies 100.0% of its inputs correctly")


def test_critic_has_no_rules_about_its_loss() -> None:
    assert report([WON] * 30, run_info(chance_loss=None)) == []


def test_smoothed_labels_do_not_hide_that_the_discriminator_wins() -> None:
    settings = resolve(
        "dcgan", [Layer("test", {"data": {"root": "x"}, "method": {"label_smoothing": 0.1}})]
    )
    torch.manual_seed(0)
    health = build.health(build.make_method(settings, {"image": 3}), settings, processes=1)
    sure = {
        "D/real": 0.1626,
        "D/fake": 0.0,
        "D/accuracy_real": 1.0,
        "D/accuracy_fake": 1.0,
    }  # half an entropy of 0.1
    lines = [line for n in range(1, 50) for line in health.update({"images": n * 128 * 20} | sure)]
    assert [line.split(":")[0] for line in lines] == ["D wins"]


def test_replayed_rows_leave_the_rules_as_if_they_had_seen_them() -> None:
    rows = [{"images": n * 100} | WON for n in range(1, 20)]
    for cut in (2, 5, 15):
        reference, resumed = Health(run_info()), Health(run_info())
        for row in rows[:cut]:
            reference.update(row)
        for row in rows:  # a run that goes back has logged rows that are dropped
            resumed.update(row)
        resumed.replay(rows[:cut])
        assert [resumed.update(row) for row in rows[cut:]] == [
            reference.update(row) for row in rows[cut:]
        ]


def test_failure_that_an_earlier_version_reported_under_another_name_is_not_repeated() -> None:
    """It logged "colour inversion"; rules are replayed from the rows, not from the events."""
    health = Health(run_info("cyclegan"))
    rows = [{"images": n * 100} | INVERTED for n in range(1, 20)]
    health.replay(rows[:10])
    assert "color inversion" in health.reported
    assert not any(health.update(row) for row in rows[10:])


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("method", registry.names("methods"))
def test_every_advice_is_a_setting_that_the_run_accepts(method: str, objective: str) -> None:
    size = 32 if method == "dcgan" else 64
    small = [
        f"data.load_size={size}",
        f"data.crop_size={size}",
        "generator.width=4",
        "discriminator.width=4",
    ]
    unet = ["generator.depth=5", "generator.name=unet"]
    small += unet if method in ("pix2pix", "regress") else []
    small += [f"method.objective={objective}"]
    small += ["discriminator.norm=instance"] if objective == "wgan-gp" else []
    small = fitting(method, small)
    silent = objective == "wgan-gp" or not has_discriminator(method)
    info = run_info(method, *small, chance_loss=None if silent else 0.693)
    failing = WON | SAME | SATURATED | INVERTED | GRIDDED, LOST
    lines = list(itertools.chain.from_iterable(report([row] * 30, info) for row in failing))
    expected = set(RULES) - ({"D wins", "D guesses"} if silent else set())
    assert {line.split(":")[0] for line in lines} == expected
    advised = {
        tuple(re.findall(r"\w+\.\w+=[\w.\-]+\w", choice))
        for line in lines
        if "To try: " in line  # not where a method smooths its grid already
        for choice in re.split(r", or |; or | with |: ", line.split("To try: ")[1].rstrip("."))
    }
    for settings in sorted(advised):
        layers = [
            Layer("test", {"data": {"root": "x"}}),
            *map(config.parse_override, [*small, *settings]),
        ]
        text = " ".join(settings)
        if objective == "wgan-gp" and "objective=rpgan" not in text and "r1" in text:
            continue
        build.make_method(resolve(method, layers), {"a": 3, "b": 3, "image": 3})
