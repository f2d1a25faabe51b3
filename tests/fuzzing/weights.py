"""Weights files with wounds, and with descriptions that lie."""

import copy
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st

from fuzzing import attacked, mutated, new_folder, outcome
from i2i import registry
from i2i.checkpoint import CheckpointError, load_weights, read_metadata, weights_bytes
from i2i.translation import TranslationError
from i2i.translation.sampling import Sampler, load_sampler
from i2i.translation.translator import Translator, load


@cache
def _model(kind: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    torch.manual_seed(0)
    common = {
        "statistics": "image",
        "alpha": "drop",
        "facts": {},
        "config": {"data": {"layout": "ab"}},
    }
    if kind == "dcgan":
        options = {"size": [8, 8], "width": 2, "norm": "batch"}
        network = registry.find("generators", "dcgan").factory(3, 3, **options)
        judge_options = {"width": 2, "layers": 1, "head": "image", "size": [8, 8]}
        judge = registry.find("discriminators", "patchgan").factory(3, **judge_options)
        parts = {
            "name": "dcgan",
            "in_channels": 3,
            "out_channels": 3,
            "latent_distribution": "normal",
            "options": options,
        }
        critic = {
            "name": "patchgan",
            "in_channels": 3,
            "options": judge_options,
            "objective": "vanilla",
        }
        tensors = {f"generate/{key}": value for key, value in network.state_dict().items()}
        tensors |= {f"discriminator/{key}": value for key, value in judge.state_dict().items()}
        return tensors, common | {
            "method": "dcgan", "direction": "generate", "generators": {"generate": parts}, "discriminator": critic,
        }  # fmt: skip
    options = {"width": 2, "blocks": 1} if kind == "resnet" else {"width": 2, "depth": 2}
    network = registry.find("generators", kind).factory(3, 3, **options)
    parts = {"name": kind, "in_channels": 3, "out_channels": 3, "options": options}
    tensors = {f"a2b/{key}": value for key, value in network.state_dict().items()}
    return tensors, common | {"method": "pix2pix", "direction": "a2b", "generators": {"a2b": parts}}


KINDS = ("unet", "resnet", "dcgan")


@st.composite
def _metadata(draw: st.DrawFn) -> tuple[str, Any]:
    """The description of a model with some values replaced or removed."""
    kind = draw(st.sampled_from(KINDS))
    metadata = copy.deepcopy(_model(kind)[1])
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
        *above, key = draw(st.sampled_from([*_places(metadata), ("new",)]))
        part: Any = metadata
        for name in above:
            part = part[name]
        if draw(st.integers(0, 4)):
            part[key] = draw(wrong)
        else:
            part.pop(key, None)
    return kind, metadata


def _places(metadata: dict[str, Any]) -> list[tuple[str, ...]]:
    """The paths of all values of nested mappings."""
    found: list[tuple[str, ...]] = []
    for key, value in metadata.items():
        found.append((key,))
        if isinstance(value, dict):
            found += [(key, *path) for path in _places(value)]
    return found


def _read_every_way(path: Path) -> None:
    for read in (read_metadata, load_weights):
        _, message = outcome(partial(read, path), CheckpointError)
        assert not message or str(path) in message
    for use in (
        partial(load, device="cpu"),
        partial(load, direction="b2a", device="cpu"),
        load_sampler,
    ):
        made, message = outcome(partial(use, path), CheckpointError, TranslationError)
        assert made is not None or str(path) in message
        if made is not None:
            state = made.network.state_dict().values()
            assert not any(tensor.is_meta for tensor in state)
            assert sum(tensor.nbytes for tensor in state) < 1_000_000
            assert isinstance(made, Translator) or made.latent_distribution in ("normal", "uniform")
            assert isinstance(made, Sampler) or made.statistics in ("image", "running")
            assert isinstance(made, Sampler) or made.layout in ("auto", "ab", "ba", "folders")


@attacked(
    content=lambda: st.sampled_from(KINDS).flatmap(
        lambda kind: mutated(weights_bytes(*_model(kind)))
    )
)
def a_damaged_weights_file_is_refused_by_name(content: bytes) -> None:
    with new_folder() as folder:
        (folder / "weights.safetensors").write_bytes(content)
        _read_every_way(folder / "weights.safetensors")


@attacked(described=_metadata)
def a_description_that_lies_is_refused_by_name(described: tuple[str, Any]) -> None:
    kind, metadata = described
    with new_folder() as folder:
        content = weights_bytes(
            _model(kind)[0], metadata if isinstance(metadata, dict) else {"x": metadata}
        )
        (folder / "weights.safetensors").write_bytes(content)
        _read_every_way(folder / "weights.safetensors")
