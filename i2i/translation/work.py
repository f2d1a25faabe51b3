"""The work of one process on the tasks of a job."""

from collections.abc import Callable, Iterator
from itertools import chain

from i2i.files import DiskFullError, WriteError
from i2i.images import ImageError
from i2i.translation import TranslationError
from i2i.translation.decoding import reason_of
from i2i.translation.inputs import is_tar
from i2i.translation.large import translate_large
from i2i.translation.manifest import result
from i2i.translation.options import Options
from i2i.translation.pipeline import Pipeline
from i2i.translation.plan import Task, job_hash
from i2i.translation.sinks import FileSink, Ledger, Outcome
from i2i.translation.tars import translate_tar
from i2i.translation.translator import Translator
from i2i.translation.volumes import separate

Engine = Callable[[Translator, Options, Iterator[Task], Ledger], None]  # such as `work`


def work(translator: Translator, options: Options, tasks: Iterator[Task], ledger: Ledger) -> None:
    """Translate all tasks, which are asked for when they are needed: images, or tars.

    Images that are too large as a whole are translated in tiles, after the others.

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
        return
    files = FileSink(ledger)
    Pipeline(translator, options, files).run(separate(translator, options, every, ledger))
    for task in files.large:
        ledger.check()
        ledger.take(task, _in_tiles(task, translator, options, ledger.shows))


def _in_tiles(task: Task, translator: Translator, options: Options, show: bool) -> Outcome:
    """Translate an image in tiles; where that is stopped, its rows stay."""
    try:
        job = job_hash(translator, options)
        stamp, notes, clipped = translate_large(task, translator, options, job, show)
        details = stamp | result(task.target)
    except DiskFullError:
        raise
    except (ImageError, TranslationError, WriteError, OSError) as error:
        return Outcome(reason=reason_of(error, task))
    return Outcome(details, notes=tuple((note, task.output) for note in notes), clipped=clipped)
