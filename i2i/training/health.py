"""Named diseases of GAN training, read off the logged rows; each is told once, with what was seen and what to try."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from i2i.config import parse_override

Row = Mapping[str, float]
Rows = Sequence[Row]  # of the last while, oldest first; every one of them must show a disease

GRACE = 100  # updates at the start of training in which everything may look failing
SPAN = 300  # updates that must all show a disease: a dip is not one
_ROWS = 3  # and as many rows at least, however long they are


@dataclass(frozen=True)
class RunInfo:
    """What the rules know of a run beside its rows.

    Args:
        settings: of the run, by section.
        update: images that make one update, of all processes together.
        guessing: a discriminator's loss while it cannot tell real from fake; None: a critic has no
            such value, and the rules about D are silent.
        certain: its loss if it knew every image for certain; above 0 with smoothed labels.
    """

    settings: Mapping[str, Mapping[str, Any]]
    update: int
    guessing: float | None
    certain: float = 0.0

    def normalized_d_loss(self, loss: float) -> float:
        """Return where a discriminator's `loss` is between certainty, 0, and guessing, 1."""
        assert self.guessing is not None
        return (loss - self.certain) / (self.guessing - self.certain)


Rule = Callable[[Rows, RunInfo], str | None]  # what was seen and what to try; None: healthy


class Health:
    """Watches the rows of a run. What it knows is a function of the rows, so a resumed run replays them."""

    def __init__(self, facts: RunInfo) -> None:
        self.facts = facts
        self.reported: set[str] = set()
        self._rows: deque[Row] = deque()

    def update(self, row: Row) -> list[str]:
        """Take a row, its position under "images", and return what has to be said now: NAME: TEXT, once for a name."""
        self._rows.append(row)
        images, update = row["images"], self.facts.update
        while len(self._rows) > _ROWS and self._rows[0]["images"] <= images - SPAN * update:
            self._rows.popleft()
        if len(self._rows) < _ROWS or images < (GRACE + SPAN) * update:
            return []
        rows = list(self._rows)
        found = {
            name: rule(rows, self.facts)
            for name, rule in RULES.items()
            if name not in self.reported
        }
        failing = {name: text for name, text in found.items() if text}
        self.reported |= set(failing)
        return [f"{name}: {text}" for name, text in failing.items()]

    def replay(self, rows: Iterable[Row]) -> None:
        """Begin restart_options with the rows of before, whose diseases have been told."""
        self._rows.clear()
        self.reported.clear()
        for row in rows:
            self.update(row)


# -- rules -----------------------------------------------------------------------------------------


def d_wins(rows: Rows, facts: RunInfo) -> str | None:
    """A discriminator knows nearly every image, and is sure: G's gradient says little of what is wrong."""
    for name in _discriminators(rows, facts):
        rights = [min(_accuracies(row, name)) for row in rows]
        losses = [_loss(row, name) for row in rows]
        if min(rights) > 0.99 and max(map(facts.normalized_d_loss, losses)) < 0.05:
            seen = (
                f"{name} is right about {rights[-1]:.1%} of what it sees and its loss is {losses[-1]:.2g}, where "
                f"guessing gives {facts.guessing:.2g}: it knows every fake, and G gets no useful gradient."
            )
            restart_options = [
                "method.r1=1 discriminator.norm=instance",
                "method.augment=diffaugment",
            ]
            restart_options += ["method.instance_noise=0.1", "method.g_steps=2"]
            return f"{seen} {_advice(facts, restart_options, resume=_d_rate(facts, 0.25))}"
    return None


def d_guesses(rows: Rows, facts: RunInfo) -> str | None:
    """A discriminator is right about half of what it sees, and unsure: G is told nothing."""
    for name in _discriminators(rows, facts):
        rights = [mean(_accuracies(row, name)) for row in rows]
        losses = [_loss(row, name) for row in rows]
        if max(rights) < 0.52 and min(map(facts.normalized_d_loss, losses)) > 0.98:
            seen = (
                f"{name} is right about {rights[-1]:.1%} of what it sees and its loss is {losses[-1]:.2g}; guessing "
                f"gives {facts.guessing:.2g}: G is told nothing."
            )
            restart_options = [
                "method.d_steps=2",
                "method.augment=none",
                "method.instance_noise=0",
                "method.label_flip=0",
            ]
            restart_options += ["method.r1=0", "method.r2=0"]
            return f"{seen} {_advice(facts, restart_options, resume=_d_rate(facts, 4))}"
    return None


def mode_collapse(rows: Rows, facts: RunInfo) -> str | None:
    """Fakes hardly differ from each other, though reals do."""
    for domain, values in _measures(rows, "diversity"):
        if max(values) < 0.15:
            seen = (
                f"{domain}/diversity is {values[-1]:.2g}, where images that differ as real ones do have 1: G makes "
                "nearly the same image whatever it is given."
            )
            restart_options = [
                "method.objective=rpgan method.r1=1 method.r2=1 discriminator.norm=instance"
            ]
            restart_options += [
                "method.augment=diffaugment",
                f"train.batch={4 * facts.settings['train']['batch']}",
            ]
            return f"{seen} {_advice(facts, [*restart_options, _slower(facts)])}"
    return None


def g_stuck(rows: Rows, facts: RunInfo) -> str | None:
    """G cannot learn: its output is at the ends of the range, where tanh has no slope, or its gradient is nothing."""
    restart_options = [
        f"{_slower(facts)} optim.clip=1",
        "generator.norm=instance",
        "train.init=normal train.init_gain=0.02",
    ]
    for domain, values in _measures(rows, "saturation"):
        reals = [row[f"{domain}/saturation_real"] for row in rows]
        if min(fake - real for fake, real in zip(values, reals, strict=True)) > 0.5:
            seen = (
                f"{domain}/saturation is {values[-1]:.2g}, the share of values at the ends of the range; real images "
                f"have {reals[-1]:.2g}: the output of G is saturated, and no gradient passes where it is."
            )
            return f"{seen} {_advice(facts, restart_options)}"
    norms = [row.get("G/grad_norm", 1.0) for row in rows]
    if max(norms) < 1e-5:
        return f"G's gradient has norm {norms[-1]:.2g}: nothing of the loss reaches it. {_advice(facts, restart_options)}"
    return None


def colour_inversion(rows: Rows, facts: RunInfo) -> str | None:
    """What is dark in the source is bright in the fake, which unpaired losses allow."""
    for domain, values in _measures(rows, "correlation"):
        if max(values) < -0.5:
            seen = (
                f"{domain}/correlation is {values[-1]:.2f}, that of the brightness of fakes and their sources: dark "
                "becomes bright. If a and b are not meant to be opposite, it rarely turns back."
            )
            restart_options = (
                "method.lambda_identity=1",
                "method.nce_identity=true",
                f"train.seed={facts.settings['train']['seed'] + 1}",
            )
            return f"{seen} {_advice(facts, restart_options)}"
    return None


RULES: dict[str, Rule] = {
    "D wins": d_wins,
    "D guesses": d_guesses,
    "mode collapse": mode_collapse,
    "G stuck": g_stuck,
    "colour inversion": colour_inversion,
}


# -- what rules read -------------------------------------------------------------------------------


def _discriminators(rows: Rows, facts: RunInfo) -> list[str]:
    """Those whose accuracy is in every row; none where their loss has no scale."""
    names = dict.fromkeys(key.split("/")[0] for key in rows[-1] if "/accuracy_" in key)
    return [
        name
        for name in names
        if facts.guessing is not None and all(_accuracies(row, name) for row in rows)
    ]


def _accuracies(row: Row, name: str) -> list[float]:
    return [value for key, value in row.items() if key.startswith(f"{name}/accuracy_")]


def _loss(row: Row, name: str) -> float:
    """The adversarial terms of one discriminator: D_a has the terms of the phase D that end in _a. No penalties."""
    return sum(
        row.get(f"D/{term}{name.removeprefix('D')}", 0.0) for term in ("real", "fake", "pair")
    )


def _measures(rows: Rows, measure: str) -> list[tuple[str, list[float]]]:
    """Each domain with `measure` in every row, and its values."""
    keys = [
        key for key in rows[-1] if key.endswith(f"/{measure}") and all(key in row for row in rows)
    ]
    return [(key.split("/")[0], [row[key] for row in rows]) for key in keys]


# -- what rules advise -----------------------------------------------------------------------------


def _d_rate(facts: RunInfo, factor: float) -> str:
    optim = facts.settings["optim"]
    return f"optim.lr_discriminator={factor * (optim['lr_discriminator'] or optim['lr']):g}"


def _slower(facts: RunInfo) -> str:
    return f"optim.lr={facts.settings['optim']['lr'] / 4:g}"


def _advice(facts: RunInfo, restart_options: Sequence[str], resume: str = "") -> str:
    """Name what the run could do: `resume` a setting to go on with, `restart_options` those of another run.

    Each is `a.b=v`, or several that belong together. Left out are those that the run has already,
    or that its method and networks do not know.
    """
    tries = []
    for option in restart_options:
        first, *others = option.split()
        if _is_new(facts, first):
            tries.append(" and ".join([first, *(text for text in others if _is_new(facts, text))]))
    parts = [f"go on (--resume) with {resume}"] if resume else []
    parts += [f"begin again with {', or '.join(tries)}"] if tries else []
    return f"To try: {'; or '.join(parts)}."


def _is_new(facts: RunInfo, text: str) -> bool:
    ((section, values),) = parse_override(text).values.items()
    present = facts.settings[section]
    return all(key in present and present[key] != value for key, value in values.items())
