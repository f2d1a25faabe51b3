"""The record of a folder job, damaged and lying."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from fuzzing import attacked, mutated, new_folder, outcome
from i2i import images
from i2i.translation import TranslationError
from i2i.translation.folder import translate_folder
from i2i.translation.options import Options
from i2i.translation.translator import Translator


class _Invert(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(-1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def _translator() -> Translator:
    return Translator(_Invert(), 3, 3, device="cpu")


@cache
def _job() -> tuple[Path, dict[str, bytes], bytes]:
    """An input folder, its outputs, and the manifest of the run that wrote them."""
    base = Path(tempfile.mkdtemp())
    for seed, name in enumerate(["a.png", "b.png", "deep/c.jpg", "d.tif"]):
        path = base / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images.encode(
            np.random.default_rng(seed).integers(0, 256, (8, 8 + seed, 3), np.uint8), path
        )
    translate_folder(_translator(), base / "in", base / "out")
    manifest = (base / "out/.i2i-manifest.jsonl").read_bytes()
    return base / "in", _outputs(base / "out"), manifest


def _outputs(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".i2i-manifest")
    }


def _values() -> st.SearchStrategy[Any]:
    likely = st.sampled_from(
        [
            "writing",
            "written",
            "started",
            "job",
            "failed",
            "a.png",
            "../x.png",
            "/x.png",
            10**40,
            [],
            {},
        ]
    )
    return st.one_of(
        likely, st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)
    )


@st.composite
def _manifests(draw: st.DrawFn) -> bytes:
    """A manifest with damaged bytes, or with values replaced and lines moved, doubled or lost."""
    whole = _job()[2]
    if draw(st.booleans()):
        return draw(mutated(whole))
    lines = draw(st.permutations(whole.splitlines()))[: draw(st.integers(0, 8))]
    for _ in range(draw(st.integers(0, 3))):
        if lines:
            at = draw(st.integers(0, len(lines) - 1))
            entry = json.loads(lines[at])
            key = draw(st.sampled_from(sorted(entry)))
            entry[key] = draw(_values())
            lines.append(json.dumps(entry).encode())
    noise = st.sampled_from(
        [
            b"",
            b"[" * 5_000,
            b"null",
            b"[]",
            b'"x"',
            b"{}",
            b"\xff\xfe",
            b'{"output": [1], "time_ns": 1}',
        ]
    )
    return b"\n".join([*lines, draw(noise)]) + draw(st.sampled_from([b"", b"\n"]))


@attacked(
    content=_manifests,
    state=lambda: st.lists(st.sampled_from(["done", "missing", "other"]), min_size=4, max_size=4),
)
def a_manifest_is_never_believed_against_the_files(content: bytes, state: list[str]) -> None:
    source, expected, _ = _job()
    with new_folder() as base:
        out = base / "out"
        out.mkdir()
        (out / ".i2i-manifest.jsonl").write_bytes(content)
        (out / ".i2i-manifest-0-of-2.jsonl").write_bytes(content[::-1])
        for (name, whole), kind in zip(expected.items(), state, strict=True):
            (out / name).parent.mkdir(exist_ok=True)
            if kind != "missing":
                (out / name).write_bytes(whole if kind == "done" else b"of another program")
        before, options = _outputs(out), Options(retry_killed=True)
        report, _ = outcome(
            lambda: translate_folder(_translator(), source, out, options), TranslationError
        )
        if report is None:
            assert _outputs(out) == before, "refused, but something was written"
            assert before, "refused where nothing could be lost"
            return
        assert report.failed == []
        assert _outputs(out) == expected
        again = translate_folder(_translator(), source, out, options)
        assert (again.written, again.skipped) == (0, 4)
