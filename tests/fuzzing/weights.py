"""Weights files with damaged bytes, and with descriptions that lie."""

import copy
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from models import write_fields

from fuzzing import attacked, mutated, new_folder, outcome
from i2i import registry
from i2i.model_file import FORMAT, ModelFileError, Tensors, load_model, named_tensors, read_info
from i2i.translation import TranslationError
from i2i.translation.loading import load
from i2i.translation.sampling import Sampler, load_sampler
from i2i.translation.translator import Translator


@cache
def _model(kind: str) -> tuple[Tensors, dict[str, Any]]:
    torch.manual_seed(0)
    spec = {"inputs": [{"channels": 3, "alpha": False, "name": ""}], "value_range": [0.0, 1.0]}
    fields: dict[str, Any] = {
        "method": "test",
        "statistics": "image",
        "alpha": "drop",
        "layout": "ab",
        "facts": {},
        "config": {"data": {"layout": "ab"}},
    }
    options: dict[str, Any]
    if kind == "dcgan":
        options = {"size": [8, 8], "width": 2, "norm": "batch"}
    else:
        options = {"width": 2, "blocks": 1} if kind == "resnet" else {"width": 2, "depth": 2}
    direction = "generate" if kind == "dcgan" else "a2b"
    networks = {direction: registry.find("generators", kind).factory(3, 3, **options)}
    part = {"name": kind, "in_channels": 3, "out_channels": 3, "options": options}
    domains = {"a": spec, "b": copy.deepcopy(spec)}
    if kind == "dcgan":
        part["latent_distribution"] = "normal"
        domains = {"image": spec}
        options = {"width": 2, "layers": 1, "head": "image", "size": [8, 8]}
        networks["discriminator"] = registry.find("discriminators", "patchgan").factory(
            3, **options
        )
        fields["discriminator"] = {
            "name": "patchgan",
            "in_channels": 3,
            "options": options,
            "objective": "vanilla",
        }
    fields |= {"direction": direction, "generators": {direction: part}, "domains": domains}
    return named_tensors(networks), fields


@cache
def _content(kind: str) -> bytes:
    tensors, fields = _model(kind)
    with new_folder() as folder:
        write_fields(folder / "weights.safetensors", {"format": FORMAT, **fields}, tensors)
        return (folder / "weights.safetensors").read_bytes()


KINDS = ("unet", "resnet", "dcgan")


@st.composite
def _fields(draw: st.DrawFn) -> tuple[str, Any]:
    """The description of a model with some values replaced or removed."""
    kind = draw(st.sampled_from(KINDS))
    fields = copy.deepcopy(_model(kind)[1])
    wrong = st.one_of(
        st.sampled_from(
            [
                10**9,
                2**70,
                -1,
                0,
                1,
                4096,
                3.0,
                True,
                [],
                {},
                "",
                "a2b",
                "unet",
                "image",
                "__class__",
            ]
        ),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False)
            | st.text(max_size=4),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=5,
        ),
    )
    for _ in range(draw(st.integers(1, 3))):
        *above, key = draw(st.sampled_from([*_paths(fields), ("new",)]))
        part: Any = fields
        for name in above:
            part = part[name]
        if draw(st.integers(0, 4)):
            part[key] = draw(wrong)
        else:
            part.pop(key, None)
    return kind, fields


def _paths(fields: dict[str, Any]) -> list[tuple[str, ...]]:
    """The paths of all values of nested mappings."""
    found: list[tuple[str, ...]] = []
    for key, value in fields.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *path) for path in _paths(value)]
    return found


def _read_every_way(path: Path) -> None:
    for read in (read_info, load_model):
        _, message = outcome(partial(read, path), ModelFileError)
        assert not message or str(path) in message
    for use in (
        partial(load, device="cpu"),
        partial(load, direction="b2a", device="cpu"),
        load_sampler,
    ):
        made, message = outcome(partial(use, path), ModelFileError, TranslationError)
        assert made is not None or str(path) in message
        if made is not None:
            state = made.network.state_dict().values()
            assert not any(tensor.is_meta for tensor in state)
            assert sum(tensor.nbytes for tensor in state) < 1_000_000
            assert isinstance(made, Translator) or made.latent.distribution in ("normal", "uniform")
            assert isinstance(made, Sampler) or made.statistics in ("image", "running")
            assert isinstance(made, Sampler) or made.layout in ("auto", "ab", "ba", "folders")


@attacked(content=lambda: st.sampled_from(KINDS).flatmap(lambda kind: mutated(_content(kind))))
def a_damaged_weights_file_is_refused_by_name(content: bytes) -> None:
    with new_folder() as folder:
        (folder / "weights.safetensors").write_bytes(content)
        _read_every_way(folder / "weights.safetensors")


@attacked(described=_fields, version=lambda: st.sampled_from([1, 2, *[FORMAT] * 9, 4, "3", None]))
def a_description_that_lies_is_refused_by_name(described: tuple[str, Any], version: Any) -> None:
    kind, fields = described
    with new_folder() as folder:
        path = folder / "weights.safetensors"
        write_fields(path, {"format": version} | fields, _model(kind)[0])
        _read_every_way(path)
