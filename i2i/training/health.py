"""Training diagnostics: failures of GANs, named from the logged rows, each with remedies."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from i2i.config import parse_override

Row = Mapping[str, float]
Rows = Sequence[Row]  # of the window, oldest first; a rule holds only if it holds in all of them

GRACE_UPDATES = 100  # at the start of training, when everything may look failing
GRID = 4.0  # dB over the reals, a mean over rows, columns and both; see `i2i.images.spectrum`
# nearest has no grid, and needs a hidden layer at full size for texture (docs/ablations.md)
GRID_ADVICE = "generator.upsample=nearest generator.head_layers=1"
WINDOW_UPDATES = 300  # that must all show a failure: a dip is not one
_WINDOW_ROWS = 3  # and as many rows at least, however long they are


@dataclass(frozen=True)
class RunInfo:
    """Facts about a run that the rules need next to its rows."""

    settings: Mapping[str, Mapping[str, Any]]  # by section
    update_images: int  # of one update, over all processes
    # D's loss while it cannot tell real from fake; None: a critic has none, no rules about D
    chance_loss: float | None
    perfect_loss: float = 0.0  # D's loss if it were certain and right; above 0 with smoothed labels

    def normalized_d_loss(self, loss: float) -> float:
        """Return the position of a discriminator's `loss` between perfect, 0, and chance, 1."""
        assert self.chance_loss is not None
        return (loss - self.perfect_loss) / (self.chance_loss - self.perfect_loss)


Rule = Callable[[Rows, RunInfo], str | None]  # the evidence and what to try; None: healthy


class Health:
    """Applies the rules to the rows of a run, and reports each failure once.

    Its state is a function of the rows, so that a resumed run replays them.
    """

    def __init__(self, info: RunInfo) -> None:
        self.info = info
        self.reported: set[str] = set()
        self._rows: deque[Row] = deque()

    def update(self, row: Row) -> list[str]:
        """Add a row, its position under "images"; return "NAME: TEXT" of failures to report."""
        self._rows.append(row)
        position, update = row["images"], self.info.update_images
        window_start = position - WINDOW_UPDATES * update
        while len(self._rows) > _WINDOW_ROWS and self._rows[0]["images"] <= window_start:
            self._rows.popleft()
        if len(self._rows) < _WINDOW_ROWS or window_start < GRACE_UPDATES * update:
            return []
        failing = []
        for name, rule in RULES.items():
            text = None if name in self.reported else rule(list(self._rows), self.info)
            if text:
                self.reported.add(name)
                failing.append(f"{name}: {text}")
        return failing

    def replay(self, rows: Iterable[Row]) -> None:
        """Start from scratch with the rows before this position, whose failures were reported."""
        self._rows.clear()
        self.reported.clear()
        for row in rows:
            self.update(row)


# -- rules -----------------------------------------------------------------------------------------


def d_wins(rows: Rows, info: RunInfo) -> str | None:
    """D classifies nearly every image correctly, with certainty: G gets hardly any gradient."""
    for name, accuracies, losses in _discriminators(rows, info):
        lowest = [min(of_row) for of_row in accuracies]
        if min(lowest) > 0.99 and max(map(info.normalized_d_loss, losses)) < 0.05:
            summary = _d_summary(name, lowest[-1], losses[-1], info)
            evidence = f"{summary}: it recognizes every fake, and G gets no useful gradient"
            restart = ["method.r1=1 discriminator.norm=instance", "method.augment=diffaugment"]
            restart += ["method.instance_noise=0.1", "method.g_steps=2"]
            return _advise(info, evidence, restart, resume=_d_lr(info, 0.25))
    return None


def d_guesses(rows: Rows, info: RunInfo) -> str | None:
    """D classifies about half of its inputs correctly, without certainty: G learns nothing."""
    for name, accuracies, losses in _discriminators(rows, info):
        average = [mean(of_row) for of_row in accuracies]
        if max(average) < 0.52 and min(map(info.normalized_d_loss, losses)) > 0.98:
            summary = _d_summary(name, average[-1], losses[-1], info)
            restart = ["method.d_steps=2", "method.augment=none", "method.instance_noise=0"]
            restart += ["method.label_flip=0", "method.r1=0", "method.r2=0"]
            evidence = f"{summary}: D provides no useful gradient to G"
            return _advise(info, evidence, restart, resume=_d_lr(info, 4))
    return None


def mode_collapse(rows: Rows, info: RunInfo) -> str | None:
    """Fakes hardly differ from each other, though reals do."""
    for domain, values in _statistics(rows, "diversity"):
        if max(values) < 0.15:
            evidence = (
                f"{domain}/diversity is {values[-1]:.2g}, where 1 is that of real images: "
                "G generates nearly the same image from every input"
            )
            restart = [
                "method.augment=diffaugment",
                "method.objective=rpgan method.r1=1 method.r2=1 discriminator.norm=instance",
                f"train.batch={4 * info.settings['train']['batch']}",
                _lower_lr(info),
            ]
            return _advise(info, evidence, restart)
    return None


def g_stuck(rows: Rows, info: RunInfo) -> str | None:
    """G cannot learn: its output is saturated, where tanh has no slope, or its gradient is 0."""
    restart = [f"{_lower_lr(info)} optim.clip=1", "generator.norm=instance"]
    restart += ["train.init_gain=null", "train.init=normal"]
    for domain, fakes in _statistics(rows, "saturation"):
        reals = [row[f"{domain}/saturation_real"] for row in rows]
        if min(fake - real for fake, real in zip(fakes, reals, strict=True)) > 0.5:
            evidence = (
                f"{domain}/saturation, the fraction of values at the ends of the range, is "
                f"{fakes[-1]:.2g}, and {reals[-1]:.2g} for real images: no gradient passes where "
                "the output of G is saturated"
            )
            return _advise(info, evidence, restart)
    norms = [row.get("G/grad_norm", 1.0) for row in rows]
    if max(norms) < 1e-5:
        evidence = f"the gradient of G has norm {norms[-1]:.2g}: no part of the loss reaches it"
        return _advise(info, evidence, restart)
    return None


def color_inversion(rows: Rows, info: RunInfo) -> str | None:
    """Dark regions of the source are bright in the fake, which unpaired losses allow."""
    for domain, values in _statistics(rows, "correlation"):
        if max(values) < -0.5:
            evidence = (
                f"{domain}/correlation, between the brightness of fakes and their sources, is "
                f"{values[-1]:.2f}: dark becomes bright. If a and b are not meant to be opposite, "
                "it rarely recovers"
            )
            other_seed = f"train.seed={info.settings['train']['seed'] + 1}"
            restart = ["method.lambda_identity=1", "method.nce_identity=true", other_seed]
            return _advise(info, evidence, restart)
    return None


def grid(rows: Rows, info: RunInfo) -> str | None:
    """Every second pixel differs, as transposed convolutions of uneven overlap leave it."""
    for domain, values in _statistics(rows, "grid"):
        if min(values) > GRID:
            evidence = (
                f"{domain}/grid, the power of a pattern of period 2 over that of real images, is "
                f"{values[-1]:.1f} dB: the way in which G doubles sides shows as a grid"
            )
            return _advise(info, evidence, [GRID_ADVICE])
    return None


RULES: dict[str, Rule] = {
    "D wins": d_wins,
    "D guesses": d_guesses,
    "mode collapse": mode_collapse,
    "G stuck": g_stuck,
    "color inversion": color_inversion,
    "grid": grid,
}


# -- what rules read -------------------------------------------------------------------------------


def _discriminators(
    rows: Rows, info: RunInfo
) -> Iterator[tuple[str, list[list[float]], list[float]]]:
    """Yield each D that has accuracies in every row, these by row, and its losses; no critic."""
    names = dict.fromkeys(key.split("/")[0] for key in rows[-1] if "/accuracy_" in key)
    for name in names if info.chance_loss is not None else ():
        accuracies = [_accuracies(row, name) for row in rows]
        if all(accuracies):
            yield name, accuracies, [_adversarial_loss(row, name) for row in rows]


def _d_summary(name: str, accuracy: float, loss: float, info: RunInfo) -> str:
    return (
        f"{name} classifies {accuracy:.1%} of its inputs correctly, and its loss is {loss:.2g}, "
        f"where guessing gives {info.chance_loss:.2g}"
    )


def _accuracies(row: Row, name: str) -> list[float]:
    return [value for key, value in row.items() if key.startswith(f"{name}/accuracy_")]


def _adversarial_loss(row: Row, name: str) -> float:
    """Return the loss of D without penalties: D_a has the terms of the phase D that end in _a."""
    suffix = name.removeprefix("D")
    return sum(row.get(f"D/{term}{suffix}", 0.0) for term in ("real", "fake", "pair"))


def _statistics(rows: Rows, name: str) -> Iterator[tuple[str, list[float]]]:
    """Yield each domain that has the statistic in every row, and its values."""
    for key in rows[-1]:
        if key.endswith(f"/{name}") and all(key in row for row in rows):
            yield key.split("/")[0], [row[key] for row in rows]


# -- what rules advise -----------------------------------------------------------------------------


def _d_lr(info: RunInfo, factor: float) -> str:
    optim = info.settings["optim"]
    return f"optim.lr_discriminator={factor * (optim['lr_discriminator'] or optim['lr']):g}"


def _lower_lr(info: RunInfo) -> str:
    return f"optim.lr={info.settings['optim']['lr'] / 4:g}"


def _advise(info: RunInfo, evidence: str, restart_options: Sequence[str], resume: str = "") -> str:
    """Return `evidence` and what to try: a setting to resume with, or others for a new run.

    Each restart option is `a.b=v`, or several that belong together. Left out are those that the run
    has already, or that its method and networks do not know.
    """
    alternatives = []
    for option in restart_options:
        first, *others = option.split()
        if _is_new(info, first):
            kept = [first, *(text for text in others if _is_new(info, text))]
            alternatives.append(" and ".join(kept))
    advice = [f"resume with {resume}"] if resume else []
    if alternatives:
        advice.append(f"restart with {', or '.join(alternatives)}")
    return f"{evidence}. To try: {'; '.join(advice)}." if advice else f"{evidence}."


def _is_new(info: RunInfo, text: str) -> bool:
    ((section, values),) = parse_override(text).values.items()
    present = info.settings[section]
    return all(key in present and present[key] != value for key, value in values.items())
