"""What must hold whatever comes in: properties with the strategies that attack them, for tests and `tools/fuzz.py`."""

import importlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

Property = Callable[..., None]
Strategies = Callable[[], dict[str, st.SearchStrategy[Any]]]
PROPERTIES: dict[str, tuple[Property, Strategies]] = {}


def attacked(**strategies: Callable[[], st.SearchStrategy[Any]]) -> Callable[[Property], Property]:
    """Register a property under its name, with the strategy of each argument."""

    def register(holds: Property) -> Property:
        PROPERTIES[holds.__name__] = (
            holds,
            lambda: {name: make() for name, make in strategies.items()},
        )
        return holds

    return register


def attack(name: str, examples: int, seed: int | None = None) -> int:
    """Try a property on generated inputs, the same ones every time or those of `seed`; return how many were tried.

    Raises what the property raises, on the smallest input that was found.
    """
    holds, strategies = PROPERTIES[name]
    tried = 0

    def counted(**inputs: Any) -> None:
        nonlocal tried
        tried += 1
        holds(**inputs)

    trial = given(**strategies())(counted)
    chosen = settings(
        max_examples=examples,
        derandomize=seed is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    chosen(trial if seed is None else seeded(seed)(trial))()
    return tried


def outcome(call: Callable[[], Any], *refusals: type[Exception]) -> tuple[Any, str]:
    """Return what `call` returns and "", or None and the message of a refusal; other errors pass."""
    try:
        return call(), ""
    except refusals as error:
        return None, str(error) or "(no message)"


@contextmanager
def new_folder() -> Iterator[Path]:
    """Make a folder, in memory where that is possible, and remove it."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


_ODD = (0, 1, 2, 8, 16, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """`whole` with one to four wounds, most of them near its start, where files describe themselves."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        if not content:
            break
        reach = draw(st.sampled_from([32, 200, len(content)]))
        at = draw(st.integers(0, min(reach, len(content)) - 1))
        kind = draw(st.integers(0, 6))
        if kind == 0:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == 1:
            content[at] = draw(st.integers(0, 255))
        elif kind == 2:
            size, order = draw(st.sampled_from([2, 4, 8])), draw(st.sampled_from(["big", "little"]))
            content[at : at + size] = (draw(st.sampled_from(_ODD)) % 256**size).to_bytes(
                size, order
            )
        elif kind == 3:
            del content[at:]
        elif kind == 4:
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == 5:
            content[at:at] = draw(st.binary(min_size=1, max_size=16))
        else:
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
    return bytes(content)


for _room in sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")):
    importlib.import_module(f"fuzzing.{_room}")
