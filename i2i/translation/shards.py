"""Fraction a folder between processes that never talk to each other: membership is a hash of the relative path."""

import hashlib
import re
from collections.abc import Mapping

from i2i.translation import TranslationError

Shard = tuple[int, int]  # (index, count), 0 <= index < count


def member(relative: str, shard: Shard) -> bool:
    """Whether `shard` translates the file at this relative path ("/" between folders).

    It depends on nothing else, so shards need no common list, and stay right while files are added.
    """
    index, count = shard
    digest = hashlib.blake2b(relative.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count == index


def parse_shard(text: str) -> Shard:
    """Return the shard "I/N", I counting from 0.

    Raises:
        TranslationError: another form, or I outside 0 to N - 1.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not match:
        raise TranslationError(f"shard: {text!r} is not I/N, such as 0/4")
    return check_shard((int(match[1]), int(match[2])))


def check_shard(shard: Shard) -> Shard:
    """Return `shard`.

    Raises:
        TranslationError: the index is not one of 0 to count - 1.
    """
    index, count = shard
    if not 0 <= index < count:
        raise TranslationError(
            f"shard: {index}/{count} does not exist (of {count}, I is 0 to {count - 1})"
        )
    return shard


def shard_from_environment(env: Mapping[str, str]) -> Shard | None:
    """Return the shard that torchrun, SLURM or a SLURM job array assigns to this process; None without any.

    Processes are counted by RANK and WORLD_SIZE, or SLURM_PROCID and SLURM_NTASKS. The tasks of an
    array (SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP) multiply them.

    Raises:
        TranslationError: variables that are no numbers, or tasks of an array that are not evenly
            spaced.
    """
    inner = _pair(env, "RANK", "WORLD_SIZE") or _pair(env, "SLURM_PROCID", "SLURM_NTASKS")
    outer = _pair(env, "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT")
    if outer:
        first, step = (
            _number(env, "SLURM_ARRAY_TASK_MIN", 0),
            _number(env, "SLURM_ARRAY_TASK_STEP", 1),
        )
        place, rest = divmod(outer[0] - first, max(step, 1))
        if rest or not 0 <= place < outer[1]:
            raise TranslationError(
                f"shard: SLURM_ARRAY_TASK_ID={outer[0]} is not one of {outer[1]} evenly spaced tasks from {first} "
                f"(submit --array=0-{outer[1] - 1}, or pass --shard I/N)"
            )
        outer = (place, outer[1])
    if not inner or not outer:
        found = inner or outer
        return check_shard(found) if found else None
    return check_shard((outer[0] * inner[1] + inner[0], outer[1] * inner[1]))


def _pair(env: Mapping[str, str], index: str, count: str) -> Shard | None:
    if not env.get(index) or not env.get(count):
        return None
    return _number(env, index, 0), _number(env, count, 1)


def _number(env: Mapping[str, str], name: str, default: int) -> int:
    value = env.get(name) or str(default)
    if not value.isdecimal():
        raise TranslationError(
            f"shard: the environment has {name}={value}, which is not a number (pass --shard I/N)"
        )
    return int(value)
