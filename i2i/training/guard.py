"""Recovery from a step that is not finite: stop, or go back to a checkpoint and skip the step."""

from collections.abc import Callable, Sequence
from pathlib import Path

from i2i.checkpoint import load_state, newest
from i2i.errors import I2IError
from i2i.training.meter import NonFiniteError
from i2i.training.trainer import Trainer

MAX_ROLLBACKS = 10  # in a row: more, and it is not the batches
ROLLBACK_UPDATES = 100  # rollbacks that are closer are in a row

Key = tuple[int, int]  # epoch and index of a sample


class GuardError(I2IError, RuntimeError):
    """Training was stopped because continuing would destroy the networks."""

    exit_code = 3


class Guard:
    """Stops a run, or takes it back, as `train.on_nonfinite` says.

    Its state is not stored: a run that is resumed before a skipped step meets it again and does the
    same.
    """

    def __init__(
        self, trainer: Trainer, checkpoints: Path, files: Callable[[int, int], list[str]]
    ) -> None:
        self._trainer, self._checkpoints = trainer, checkpoints
        self._files = files  # epoch, index -> paths behind a sample
        self._skipped: set[int] = set()  # positions
        self._last_update, self._in_row = 0, 0  # of the last rollback; how many were in a row
        # update -> position and samples, since metrics were last fetched
        self._recent: dict[int, tuple[int, Sequence[Key]]] = {}

    def admit(self, keys: Sequence[Key]) -> bool:
        """Return False if the step is to be skipped; else keep its samples until `clear`."""
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
            hint = "--set train.on_nonfinite=rollback to go back and skip that step"
            raise self._error(failure, f"Resume with {hint}, or with a lower optim.lr")
        is_close = error.update < self._last_update + ROLLBACK_UPDATES
        self._last_update, self._in_row = error.update, self._in_row + 1 if is_close else 1
        if self._in_row > MAX_ROLLBACKS:
            hint = f"Skipping {MAX_ROLLBACKS} batches has not helped: resume with a lower optim.lr"
            raise self._error(failure, hint)
        self._skipped.add(position)
        path, damaged = newest(self._checkpoints)
        trainer.restore(load_state(path), path)
        self.clear()
        rollback = f"{failure}. Back to {path}; this step will be skipped."
        return [rollback, *(f"skipped a damaged checkpoint: {line}" for line in damaged)]

    def _error(self, failure: str, hint: str) -> GuardError:
        reason = f"stopped {failure}. The last good state is in {self._checkpoints}"
        hint = f"Look for constant or broken images. {hint}. optim.clip=1 and --precision fp32 help"
        return GuardError(self._checkpoints.parent, reason, hint)
