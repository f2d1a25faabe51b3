"""Folder jobs on Ray, local or on a cluster: an actor for each GPU or core holds a translator.

Plain actors, not Ray Data: an image for which memory does not suffice must not kill one worker
after the other. Here one that was in work when three workers were killed is listed as failed. Paths
are sent, and outcomes return: images are read and written by the actors, so inputs, outputs and the
model are at the same paths on all machines.
"""

import importlib
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from i2i.errors import I2IError
from i2i.files import temporary_of, temporary_stem
from i2i.translation import TranslationError
from i2i.translation.inputs import is_tar
from i2i.translation.loading import load
from i2i.translation.manifest import Stamp
from i2i.translation.options import Options
from i2i.translation.plan import Task
from i2i.translation.sinks import Ledger, Outcome
from i2i.translation.translator import Translator
from i2i.translation.work import work

_LONGEST_CHUNK = 32  # images for which an actor is called once; the first calls are for fewer
_GROWTH = 1.2
_DEATHS = 3  # of workers with an image, after which it is listed as failed
_STORE_BYTES = 100 * 2**20  # of a local Ray: only paths and outcomes pass through it
_KILLED = f"its worker was killed {_DEATHS} times, as where memory ends"


class Ray:
    """The engine: `work` of many processes.

    Args:
        address: of a cluster; "": that in RAY_ADDRESS, or else a local Ray for this job.
        workers: most actors; None: one for each GPU, or core of a job on CPUs.

    Raises:
        TranslationError: Ray is not installed.
    """

    def __init__(self, address: str = "", workers: int | None = None) -> None:
        self._address, self._workers = address or os.environ.get("RAY_ADDRESS", ""), workers
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError as error:
            hint = "Run: pip install 'i2i[ray]'"
            raise TranslationError("--engine ray", f"needs ray ({error})", hint) from None

    def __call__(
        self, translator: Translator, options: Options, tasks: Iterator[Task], ledger: Ledger
    ) -> None:
        """Do `work` on Ray.

        Raises:
            TranslationError: there are no workers, or they cannot start.
            DiskFullError: there is no room for an output.
        """
        if not translator.path:
            raise TranslationError("--engine ray", "needs a model that was loaded from a file")
        with _connected(self._ray, self._address):
            kind = "GPU" if translator.device.type == "cuda" else "CPU"
            count = int(self._ray.cluster_resources().get(kind, 0))
            if not count:
                raise TranslationError("--engine ray", f"the cluster has no {kind}")
            crew = _Crew(self._ray, kind, _Job.of(translator, options), ledger)
            crew.run(tasks, min(count, self._workers or count))


class _Job(NamedTuple):
    """All that an actor needs to become the translator of the job."""

    model: tuple[Any, ...]  # arguments of `load`
    execution: Any
    fingerprint: str
    options: Options

    @classmethod
    def of(cls, translator: Translator, options: Options) -> "_Job":
        """Describe a translator."""
        device, depth = translator.device.type, translator.depth
        alpha = None if translator.source.alpha else translator.alpha
        half, max_pixels = translator.half, translator.max_pixels
        direction = str(translator.direction)
        model = (translator.path, direction, device, "fp32", alpha, depth, half, max_pixels)
        if device == "cpu":  # an actor has one core
            options = replace(options, threads=options.threads or 1)
        return cls(model, translator.execution, translator.fingerprint, options)


class Worker:
    """An actor: translates the tasks that it is given."""

    def __init__(self, job: _Job) -> None:
        self._job = job

    def translate(self, tasks: list[Task]) -> tuple[list[tuple[Task, Outcome]], I2IError | None]:
        """Return the outcomes, and the error that ends the job: a full disk, or no model."""
        collected = _Collector([])
        try:
            work(self._translator, self._job.options, iter(tasks), collected)
        except I2IError as error:
            return collected.outcomes, error
        return collected.outcomes, None

    @cached_property
    def _translator(self) -> Translator:
        translator = load(*self._job.model)
        translator.use(self._job.execution)
        if translator.fingerprint != self._job.fingerprint:
            reason = "another model on a machine of the cluster"
            raise TranslationError(translator.path, reason, "Use a folder that all machines share")
        return translator


class _Collector(NamedTuple):
    """The ledger of an actor."""

    outcomes: list[tuple[Task, Outcome]]
    shows: bool = False

    def check(self) -> None:
        """Do nothing: the process that keeps the record holds the folder."""

    def marked(self, stamps: Sequence[tuple[Task, Stamp]]) -> AbstractContextManager[None]:
        """Do nothing: deaths are counted."""
        return nullcontext()

    def take(self, task: Task, outcome: Outcome) -> None:
        """Keep an outcome."""
        self.outcomes.append((task, outcome))


class _Crew:
    """The actors of a job, each with a chunk of tasks at a time."""

    def __init__(self, ray: Any, kind: str, job: _Job, ledger: Ledger) -> None:
        self._ray, self._job, self._ledger = ray, job, ledger
        resources = {"num_gpus": 1} if kind == "GPU" else {"num_cpus": 1}
        self._actor = ray.remote(**resources)(Worker)
        self._again: deque[Task] = deque()  # tasks of killed workers, which go alone
        self._deaths: dict[str, int] = {}  # output -> workers that were killed with it
        self._running: dict[Any, tuple[Any, list[Task]]] = {}  # call -> worker, its tasks
        errors = ray.exceptions
        self._death = errors.RayActorError, errors.WorkerCrashedError, errors.OutOfMemoryError

    def run(self, tasks: Iterator[Task], count: int) -> None:
        """Translate all tasks with `count` workers."""
        chunks = _chunks(tasks)
        idle = [self._actor.remote(self._job) for _ in range(count)]
        while True:
            while idle and (chunk := self._next(chunks)):
                worker = idle.pop()
                self._running[worker.translate.remote(chunk)] = worker, chunk
            if not self._running:
                return
            ready, _ = self._ray.wait(list(self._running), num_returns=1)
            worker, chunk = self._running.pop(ready[0])
            idle.append(worker if self._finish(ready[0], chunk) else self._replace(chunk))

    def _next(self, chunks: Iterator[list[Task]]) -> list[Task]:
        return [self._again.popleft()] if self._again else next(chunks, [])

    def _finish(self, call: Any, chunk: list[Task]) -> bool:
        """Take the outcomes of a call; return False if the worker is dead."""
        try:
            outcomes, error = self._ray.get(call)
        except self._death:
            return False
        for task, outcome in outcomes:
            self._ledger.take(task, outcome)
        if error:
            raise error
        return True

    def _replace(self, chunk: list[Task]) -> Any:
        """Return a new worker; what the dead one had is done again, unless that killed several."""
        for task in chunk:
            _remove_temporaries(task.target)
            self._deaths[task.output] = deaths = self._deaths.get(task.output, 0) + 1
            if deaths < _DEATHS:
                self._again.append(task)
            else:
                self._ledger.take(task, Outcome(reason=_KILLED))
        return self._actor.remote(self._job)


def _chunks(tasks: Iterator[Task]) -> Iterator[list[Task]]:
    """Yield the tasks in chunks that grow, so that few tasks are divided too; tars go alone."""
    length = 1.0
    while chunk := list(islice(tasks, int(length))):
        yield [_absolute(task) for task in chunk]
        length = 1 if is_tar(chunk[0].source) else min(_LONGEST_CHUNK, length * _GROWTH)


def _absolute(task: Task) -> Task:
    """Return a task that means the same in another working folder."""
    partners = tuple(path.absolute() for path in task.partners)
    return task._replace(
        source=task.source.absolute(), target=task.target.absolute(), partners=partners
    )


def _remove_temporaries(target: Path) -> None:
    stem = temporary_stem(target.name)
    for path in target.parent.glob(".*.tmp-*"):
        if (temporary_of(path.name) or ("", 0))[0] == stem:
            path.unlink(missing_ok=True)


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Connect to a cluster, or start a local Ray, and end it; a connection of ours stays."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(address=address or "local", **options)
        yield
    except ConnectionError as error:
        raise TranslationError("--address", f"no Ray at {address} ({error})") from None
    finally:
        ray.shutdown()
