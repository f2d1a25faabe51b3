"""Recovery from a step that is not finite: stop, or go back to a checkpoint and skip the step."""

from collections.abc import Callable, Sequence
from pathlib import Path

from i2i.checkpoint import load_state, newest
from i2i.errors import I2IError
from i2i.training.meter import NonFiniteError
from i2i.training.trainer import Trainer

MAX_ROLLBACKS = 10  # in a row
ROW_UPDATES = 100  # rollbacks less far apart are in a row: then it is not the batches

Key = tuple[int, int]  # epoch and index of a sample


class GuardError(I2IError, RuntimeError):
    """Training was stopped because continuing would destroy the networks."""

    exit_code = 3


class Guard:
    """What `train.on_nonfinite` says, for the run whose checkpoints are in a folder.

    Nothing of it is stored: a run that is resumed before a step that is skipped meets it again and
    does the same.

    Args:
        files: paths behind a sample, for messages.
    """

    def __init__(
        self, trainer: Trainer, checkpoints: Path, files: Callable[[int, int], list[str]]
    ) -> None:
        self._trainer, self._checkpoints, self._files = trainer, checkpoints, files
        self._skipped: set[int] = set()  # positions
        self._last, self._in_row = 0, 0  # update that failed last; rollbacks in a row
        # updates since metrics were last fetched -> position and samples
        self._recent: dict[int, tuple[int, Sequence[Key]]] = {}

    def admit(self, keys: Sequence[Key]) -> bool:
        """Return False for a step to skip; else keep its samples until `clear`."""
        if self._trainer.images in self._skipped:
            return False
        self._recent[self._trainer.updates] = self._trainer.images, keys
        return True

    def clear(self) -> None:
        """Forget the samples of steps that are known to be finite."""
        self._recent.clear()

    def recover(self, error: NonFiniteError) -> list[str]:
        """Restore the newest checkpoint, to skip the step that failed; return lines for the log.

        Raises:
            GuardError: the settings say to stop, or going back has not helped.
        """
        trainer = self._trainer
        position, keys = self._recent.get(error.update, (trainer.images, []))
        own_files = [path for key in dict.fromkeys(keys) for path in self._files(*key)]
        files = [path for of_rank in trainer.rank.gather(own_files) for path in of_rank]
        failure = (
            f"after {position} images: {error.subject} not finite. "
            f"Files of that step: {', '.join(files) or 'unknown'}"
        )
        if trainer.train.on_nonfinite == "stop":
            rollback = "train.on_nonfinite=rollback to go back and skip that step"
            raise self._error(failure, f"Resume with --set {rollback}, or with a lower optim.lr")
        is_next = error.update < self._last + ROW_UPDATES
        self._last, self._in_row = error.update, self._in_row + 1 if is_next else 1
        if self._in_row > MAX_ROLLBACKS:
            unhelpful = f"Skipping {MAX_ROLLBACKS} batches has not helped"
            raise self._error(failure, f"{unhelpful}. Resume with a lower optim.lr")
        self._skipped.add(position)
        path, damaged = newest(self._checkpoints)
        trainer.restore(load_state(path))
        self.clear()
        lines = [f"{failure}. Back to {path}; this step will be skipped."]
        return lines + [f"skipped a damaged checkpoint: {line}" for line in damaged]

    def _error(self, failure: str, hint: str) -> GuardError:
        reason = f"stopped {failure}. The last good state is in {self._checkpoints}"
        checks = "Look for constant or broken images"
        more = "optim.clip=1 and --precision fp32 help too"
        return GuardError(self._checkpoints.parent, reason, f"{checks}. {hint}. {more}")
