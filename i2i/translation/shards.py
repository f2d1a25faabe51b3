"""Shards of a folder, for processes that do not communicate: an image goes by its path's hash."""

import hashlib
import re
from collections.abc import Mapping

from i2i.translation import TranslationError

Shard = tuple[int, int]  # (index, count), 0 <= index < count


def shard_of(relative: str, count: int) -> int:
    """Return the shard, of `count`, of the file at this relative path ("/" between folders).

    It depends on nothing else, so shards need no common list, and stay right while files are added.
    """
    digest = hashlib.blake2b(relative.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def parse_shard(text: str, env: Mapping[str, str]) -> Shard:
    """Return the shard "I/N", I counting from 0, or for "auto" the one that `env` assigns.

    Raises:
        TranslationError: another form, or I outside 0 to N - 1; variables that make no sense.
    """
    if text.strip() == "auto":
        return shard_from_environment(env)
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
    if not match:
        raise TranslationError("shard", f"expected I/N, such as 0/4, or auto, got {text[:40]!r}")
    return check_shard((int(match[1]), int(match[2])))


def check_shard(shard: Shard) -> Shard:
    """Return `shard`, or raise TranslationError if its index is not one of 0 to count - 1."""
    index, count = shard
    if not 0 <= index < count:
        hint = f"Count from 0 to {count - 1}"
        raise TranslationError("shard", f"{index}/{count} does not exist", hint)
    return shard


def tasks_in_environment(env: Mapping[str, str]) -> int:
    """Return how many tasks torchrun, SLURM or a job array seem to have started, at least 1.

    That is no request to divide: a batch script without srun runs once, whatever it asked for, and
    the tasks of an array may each have a model or a folder of their own.
    """
    names = ("WORLD_SIZE", "SLURM_NTASKS", "SLURM_ARRAY_TASK_COUNT")
    counts = [env.get(name, "") for name in names]
    return max([1, *(int(count) for count in counts if re.fullmatch("[0-9]{1,9}", count))])


def shard_from_environment(env: Mapping[str, str]) -> Shard:
    """Return the shard that torchrun, srun or a SLURM job array assigns to this process.

    Processes are counted by RANK and WORLD_SIZE, or in a step of srun by SLURM_PROCID and
    SLURM_STEP_NUM_TASKS: a batch script has SLURM_NTASKS without the tasks. The tasks of an array
    (SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP) multiply them.

    Raises:
        TranslationError: variables that are no numbers, or tasks of an array that are not evenly
            spaced.
    """
    process = _pair(env, "RANK", "WORLD_SIZE") or _pair(env, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS")
    task = _pair(env, "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    if task:
        number, count = task
        first = _number(env, "SLURM_ARRAY_TASK_MIN", 0)
        index, rest = divmod(number - first, max(_number(env, "SLURM_ARRAY_TASK_STEP", 1), 1))
        if rest or not 0 <= index < count:
            reason = (
                f"SLURM_ARRAY_TASK_ID={number} is not one of {count} evenly spaced from {first}"
            )
            hint = f"Submit --array=0-{count - 1}, or pass --shard I/N"
            raise TranslationError("shard", reason, hint)
        task = (index, count)
    (row, rows), (column, columns) = task or (0, 1), process or (0, 1)
    return check_shard((row * columns + column, rows * columns))


def _pair(env: Mapping[str, str], index: str, count: str) -> Shard | None:
    if not env.get(index) or not env.get(count):
        return None
    return _number(env, index, 0), _number(env, count, 1)


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,9}", value):
        raise TranslationError("shard", f"{name}={value[:40]} is not a number", "Pass --shard I/N")
    return int(value)
