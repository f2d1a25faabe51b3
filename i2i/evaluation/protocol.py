"""Protocols: everything that makes a number, so that comparable numbers are known.

The hash of a protocol covers what makes numbers comparable. The model is not part of it: two models
under one protocol are what a comparison is about.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from i2i.errors import I2IError, printable
from i2i.evaluation.fingerprint import Fingerprint, differences
from i2i.images import ValueRange

ARITHMETIC = 1  # version of the metrics' arithmetic; raise it when a number changes
_OF_OUTPUTS = ("checkpoint", "precision", "outputs")  # what made the outputs is compared, not held
_TITLES = {
    "split": "split",
    "direction": "direction",
    "paired": "paired",
    "size": "resized to",
    "resizer": "resizer",
    "channels": "channels",
    "depth": "bits of targets (32: floats)",
    "value_range": "value range",
    "bootstrap": "bootstrap",
    "arithmetic": "version of the arithmetic",
    "precision": "number format of the network",
}


class ProtocolError(I2IError, ValueError):
    """A file without a protocol that can be compared."""


@dataclass(frozen=True)
class Protocol:
    """Data, settings and networks that make the numbers of one evaluation."""

    split: str  # "": folders that were named
    direction: str  # "": folders that were named
    paired: bool
    size: str  # to which images were resized: keep, N (the shorter side) or WxH
    resizer: str
    channels: int  # of targets
    depth: int  # bits of the deepest target; 32: floats
    value_range: ValueRange  # of the targets; PSNR and SSIM are relative to its width
    targets: Fingerprint
    inputs: Fingerprint | None = None  # None: not known
    masks: Fingerprint | None = None  # None: whole images
    features: Mapping[str, str] | None = None  # of set metrics: network -> what it is
    bootstrap: str = "1000 rounds, seed 0, 95 %"
    arithmetic: int = ARITHMETIC
    checkpoint: str = ""  # hash of the weights and of all else that decides an output
    precision: str = ""
    outputs: Fingerprint | None = None  # of a folder; None: a model made them

    @property
    def hash(self) -> str:
        """First 8 hex digits of the sha256 of all that makes numbers comparable."""
        content: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Fingerprint):
                value = [value.images, value.content]
            if field.name not in _OF_OUTPUTS:
                content[field.name] = value
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def __str__(self) -> str:
        """One line for people, as it is printed under a result."""
        low, high = self.value_range
        sizes = ", ".join(list(self.targets.sizes)[:2])
        more = ", …" if len(self.targets.sizes) > 2 else ""
        kind = "floats" if self.depth == 32 else f"{self.depth}-bit"
        parts = [
            f"{self.targets.images} targets of {sizes}{more}",
            f"split {self.split}" if self.split else "",
            self.direction,
            "not resized" if self.size == "keep" else f"resized to {self.size} ({self.resizer})",
            f"{kind} values from {low:g} to {high:g}",
            "inside masks" if self.masks else "",
            *(
                f"{name.removesuffix('_sha256')} {text[:8]}"
                for name, text in (self.features or {}).items()
                if name.endswith("_sha256")
            ),
            f"checkpoint {self.checkpoint}" if self.checkpoint else "",
            f"bootstrap {self.bootstrap}",
        ]
        return f"protocol {self.hash}: " + ", ".join(filter(None, parts))

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON holds it; `from_json` is the inverse."""
        content = asdict(self)
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Fingerprint):
                content[field.name] = value._asdict()
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the protocol that `as_json` gave.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: it is not one.
        """
        values = dict(content)
        for name in ("targets", "inputs", "masks", "outputs"):
            if values[name] is not None:
                values[name] = Fingerprint.from_json(values[name])
        low, high = values["value_range"]
        return cls(**{**values, "value_range": (float(low), float(high))})


def explain(one: Protocol, other: Protocol) -> list[str]:
    """Return what differs between two protocols, a sentence each; of one hash only the outputs."""
    lines = []
    for name, title in _TITLES.items():
        mine, theirs = getattr(one, name), getattr(other, name)
        if mine != theirs:
            lines.append(f"{title}: {_text(mine)}; {_text(theirs)} in the other")
    mine, theirs = (each.features or {} for each in (one, other))
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            texts = (_text(each.get(name)) for each in (mine, theirs))
            lines.append(f"features, {name}: {'; '.join(texts)} in the other")
    for name in ("targets", "inputs", "masks", "outputs"):
        lines += [f"{name}: {text}" for text in _data(getattr(one, name), getattr(other, name))]
    if one.checkpoint != other.checkpoint:
        mine, theirs = (each.checkpoint or "no model" for each in (one, other))
        lines.append(f"checkpoint: {mine}; {theirs} in the other")
    return lines


def common(*hashes: str) -> str:
    """Return the hash that all numbers of a column have, "" where they differ."""
    return hashes[0] if len({*hashes}) == 1 else ""


def warning(hashes: Mapping[str, str]) -> str:
    """Return a sentence for a table whose rows have several protocols, "" for one.

    `hashes`: name of a row -> hash of its protocol.
    """
    if not hashes or common(*hashes.values()):
        return ""
    groups: dict[str, list[str]] = {}
    for name, code in hashes.items():
        groups.setdefault(code or "unknown", []).append(printable(name, 60))
    listed = "; ".join(f"{code}: {', '.join(names)}" for code, names in groups.items())
    return f"not comparable, {len(groups)} protocols are in one column ({listed})"


def read_protocol(path: Path) -> Protocol:
    """Return the protocol in a file that `i2i evaluate --json` printed.

    Raises:
        ProtocolError: there is none.
    """
    hint = "Give the output of `i2i evaluate --json`, of one direction"
    try:
        content = json.loads(path.read_text("utf-8"))
        return Protocol.from_json(content.get("protocol", content))
    except OSError as error:
        raise ProtocolError(path, f"cannot be read ({error.strerror})", hint) from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ProtocolError(path, "holds no protocol of one evaluation", hint) from None


def _data(one: Fingerprint | None, other: Fingerprint | None) -> Iterator[str]:
    if one is not None and other is not None:
        yield from differences(one, other)
    elif one != other:
        here, there = ("unknown" if each is None else "known" for each in (one, other))
        yield f"{here} here, {there} in the other"


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return " to ".join(f"{each:g}" for each in value)
    return printable("none" if value in ("", None) else value, 60)
