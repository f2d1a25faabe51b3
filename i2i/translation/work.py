"""The work of one process on the tasks of a job."""

from collections.abc import Callable, Iterator
from itertools import chain

from i2i.translation.inputs import is_tar
from i2i.translation.options import Options
from i2i.translation.pipeline import Pipeline
from i2i.translation.plan import Task
from i2i.translation.sinks import FileSink, Ledger
from i2i.translation.tars import translate_tar
from i2i.translation.translator import Translator

Engine = Callable[[Translator, Options, Iterator[Task], Ledger], None]  # such as `work`


def work(translator: Translator, options: Options, tasks: Iterator[Task], ledger: Ledger) -> None:
    """Translate all tasks, which are asked for when they are needed: images, or tars.

    Raises:
        DiskFullError: there is no room for an output.
    """
    first = next(tasks, None)
    if first is None:
        return
    every = chain([first], tasks)
    if is_tar(first.source):
        for task in every:
            ledger.take(task, translate_tar(translator, options, task, ledger))
    else:
        Pipeline(translator, options, FileSink(ledger)).run(every)
