"""One execution for a complete folder job: all of its shards, and all runs that continue it."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from i2i import images
from i2i.execution import Execution
from i2i.execution.choose import choose, is_emulated
from i2i.files import check_no_link, write_error
from i2i.images import Array
from i2i.networks.padding import reflect
from i2i.translation.options import Options
from i2i.translation.translator import Translator

if TYPE_CHECKING:
    from i2i.translation.plan import Task

_SIDE = 128  # pixels of the part of an image that is tested
_ATTEMPTS = 4  # images, until one can be read


def tune(translator: Translator, pixels: Array, count: int) -> None:
    """Choose the fastest execution for `count` images such as `pixels`, [H, W, C].

    The choice is tested on a part of the image. Outputs of 8 bits may differ from float32 by two
    levels of 8 bits, deeper ones and labels by two levels of 16.
    """
    height, width = pixels.shape[:2]
    side = translator.padded(_SIDE)
    part = translator.source.tensor(pixels[None, :side, :side], translator.device)
    right, bottom = (translator.padded(length) - length for length in reversed(part.shape[-2:]))
    sample = reflect(part, 0, bottom, 0, right)
    deep = translator.output_depth(images.depth_of(pixels)) > 8 or translator.target.mask
    tolerance = 2 * 2 / images.MAX_VALUE[16 if deep else 8]
    areas = translator.padded(height) * translator.padded(width)
    same = count * areas / (sample.shape[-2] * sample.shape[-1])
    translator.use(choose(translator.network, sample, "translate", same, tolerance))


class Choice:
    """The execution of one job in one output folder, `root`.

    Args:
        job: hash of the job as the plain execution has it.
        has_outputs: that job has outputs, which the plain execution wrote.
    """

    def __init__(self, translator: Translator, root: Path, job: str, has_outputs: bool) -> None:
        self._translator, self._has_outputs = translator, has_outputs
        self._path = root / f".i2i-execution-{job}.json"
        check_no_link(self._path)

    def settle(self, tasks: Sequence["Task"], options: Options) -> list[str]:
        """Give the translator the execution of the job, chosen if there is none yet.

        Args:
            tasks: those of all shards.

        Returns:
            Notes for people.
        """
        translator = self._translator
        if self._path.is_file():
            translator.use(Execution.read(self._path))
            text = f"computed in {translator.execution}, as this job began"
            slow = is_emulated(translator.execution, translator.device)
            return [f"{text}; this machine emulates it, and is slow" if slow else text]
        if not self._has_outputs:
            self._choose(tasks, options)
        execution = translator.execution
        return [f"computed in {execution} ({execution.reason})"] if execution.is_measured else []

    def _choose(self, tasks: Sequence["Task"], options: Options) -> None:
        from i2i.translation.decoding import Item, decode  # which imports the plan
        from i2i.translation.inputs import is_tar
        from i2i.translation.tars import sample_of

        for task in tasks[:_ATTEMPTS]:
            if is_tar(task.source):
                item, count = sample_of(task, self._translator, options) or ("", 0)
            else:
                item, count = decode(task, self._translator, options), 1
            if isinstance(item, Item):
                return tune(self._translator, item.pixels, len(tasks) * count)

    def record(self) -> bool:
        """Write the choice down; return False if another shard has made another one.

        Raises:
            WriteError: it could not be written.
        """
        execution = self._translator.execution
        try:
            if execution.is_measured:
                execution.write_new(self._path)
        except FileExistsError:
            return Execution.read(self._path) == execution
        except OSError as error:
            raise write_error(self._path, error) from None
        return True
