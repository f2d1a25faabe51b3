"""Named diseases of GAN training, read off the logged terms; each is told once, with what to try."""

from collections import deque
from collections.abc import Mapping

_WINDOW = 5  # rows that must all show a disease


class Health:
    """Watches rows of terms.

    Args:
        chance: D's loss while it cannot tell real from fake, as the sum of its adversarial terms; None: not watched.
        discriminators: how many discriminators add up in that sum.
    """

    def __init__(self, chance: float | None, discriminators: int = 1) -> None:
        self.chance = None if chance is None else chance * discriminators
        self._rows: deque[dict[str, float]] = deque(maxlen=_WINDOW)
        self.told: dict[str, str] = {}  # disease -> message

    def look(self, images: int, terms: Mapping[str, float]) -> list[str]:
        """Take a row of terms and return what has to be said now, one line for each disease."""
        self._rows.append(dict(terms))
        if len(self._rows) < _WINDOW or self.chance is None:
            return []
        losses = [_adversarial(row) for row in self._rows]
        found = {}
        if all(loss < 0.03 * self.chance for loss in losses):
            found["D wins"] = (
                f"D's loss is {losses[-1]:.2g}, below 3 % of {self.chance:.2g}, which guessing gives: it knows every "
                "fake, and G gets no useful gradient. Try method.r1=1 with discriminator.norm=instance or none, "
                "method.label_smoothing=0.1, method.augment=diffaugment, or a lower optim.lr_discriminator."
            )
        if all(loss > 0.98 * self.chance for loss in losses):
            found["D guesses"] = (
                f"D's loss is {losses[-1]:.2g}, what guessing gives: G is told nothing. Try a higher "
                "optim.lr_discriminator, method.d_steps=2, weaker penalties, or no augmentation."
            )
        fresh = {name: text for name, text in found.items() if name not in self.told}
        self.told |= fresh
        return [f"{name} (after {images} images): {text}" for name, text in fresh.items()]


def _adversarial(row: Mapping[str, float]) -> float:
    names = ("D/real", "D/fake", "D/pair")
    return sum(value for name, value in row.items() if name.startswith(names))
