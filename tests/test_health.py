"""Each rule fires on a run that has its disease, once, and none on a healthy one."""

from i2i.training.health import Health


def watched(losses: list[float], chance: float | None = 0.693) -> list[str]:
    health = Health(chance)
    return [line for i, loss in enumerate(losses) for line in health.look(i, {"D/real": loss / 2, "D/fake": loss / 2})]


def test_discriminator_that_knows_every_fake_is_told_once_with_what_to_try() -> None:
    lines = watched([0.5, 0.1, *[0.001] * 20])
    assert len(lines) == 1
    assert lines[0].startswith("D wins (after 6 images)")
    assert "method.r1" in lines[0]


def test_discriminator_that_only_guesses_is_told_once() -> None:
    lines = watched([0.693] * 20)
    assert len(lines) == 1
    assert lines[0].startswith("D guesses")


def test_healthy_run_and_short_dips_are_passed_over_in_silence() -> None:
    assert watched([0.69, 0.5, 0.3, 0.001, 0.001, 0.3, 0.4, 0.01, 0.2] * 5) == []
    assert watched([0.0001] * 20, chance=None) == []
