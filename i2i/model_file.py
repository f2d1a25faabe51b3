"""The weights file: trained networks, and everything that is needed to use them without options.

It is a safetensors file whose metadata is a `ModelInfo` as JSON with a checksum, since safetensors
does not notice a flipped bit. Nothing in it is executed, and nothing in it is trusted.
"""

import hashlib
import itertools
import json
import math
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
import yaml
from pydantic import ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from i2i import registry
from i2i.config import AlphaUse, Layer, Layout, Section, migrate
from i2i.direction import Direction
from i2i.errors import printable
from i2i.files import write_atomically
from i2i.images import NUMBERS
from i2i.images.slices import MAX_NEIGHBORS
from i2i.images.spec import ChannelSpec, ImageSpec
from i2i.model_path import WEIGHTS as WEIGHTS
from i2i.model_path import ModelFileError as ModelFileError
from i2i.model_path import weights_file
from i2i.networks.latent import LatentDistribution, LatentSpec
from i2i.options import Count, explain
from i2i.precision import after_fork, float32_networks

FORMAT = 3  # of weights files and checkpoints; raise it when they change, and extend `_migrate`
GENERATE = "generate"  # the direction of a generator from noise
DISCRIMINATOR = "discriminator"  # prefix of its tensors

Statistics = Literal["image", "running"]
Tensors = dict[str, Tensor]

_MAX_OPTION = 4096  # largest number in options, unless the file has a tensor with a longer side
_MAX_TEXT = 2**20  # characters of a description; 5,000 are usual
_MAX_WORD = 1000  # characters of an option, or of a fact
_TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64)  # of tensors
_RESTORE = "Restore the file from a backup"
_VERSION = "Use the version that wrote the file"
_CONVERT = "Convert files of known toolkits with `i2i import`"


# -- contents --------------------------------------------------------------------------------------


class _Part(Section):
    model_config = ConfigDict(strict=True)  # "3", 3.0 and true are not channel counts


class NetworkInfo(_Part):
    """A network as the registry builds it: its name, and the arguments of its constructor."""

    category: ClassVar[registry.Category]
    name: str
    options: dict[str, Any]
    in_channels: Count

    @property
    def channels(self) -> tuple[int, ...]:
        """Positional arguments of the constructor."""
        return (self.in_channels,)

    def build(self) -> nn.Module:
        """Return the network with fresh weights."""
        component = registry.find(self.category, self.name)
        options = {**component.preset, **self.options}
        with float32_networks():
            network: nn.Module = component.factory(*self.channels, **options)
        return network


class GeneratorInfo(NetworkInfo):
    """A generator from images, or from noise: then `in_channels` is the length of its latents."""

    category = "generators"
    out_channels: Count
    latent_distribution: LatentDistribution | None = None  # None: from images

    @property
    def channels(self) -> tuple[int, ...]:
        """Positional arguments of the constructor."""
        return (self.in_channels, self.out_channels)

    @property
    def latent(self) -> LatentSpec | None:
        """Noise that the generator takes; None where it takes images."""
        noise = self.latent_distribution
        return LatentSpec(self.in_channels, noise) if noise else None


class DiscriminatorInfo(NetworkInfo):
    """The discriminator that a generator from noise was trained against, to score its images."""

    category = "discriminators"
    objective: str = "vanilla"  # the loss that its logits were trained with


def default_spec(channels: int) -> ImageSpec:
    """Return the spec of images of which only the channels are known: 2 or 4 have alpha."""
    return ImageSpec((ChannelSpec(channels, channels in (2, 4)),))


def _domain_channels(generators: Mapping[str, GeneratorInfo]) -> Iterator[tuple[str, int]]:
    """Yield (domain, channels) for each kind of image that a generator takes or makes."""
    for name, part in generators.items():
        if name in list(Direction):
            yield Direction(name).source, part.in_channels
            yield Direction(name).target, part.out_channels
        else:
            yield "image", part.out_channels


class ModelInfo(_Part):
    """Everything a weights file says."""

    format: int = FORMAT  # of the file that was read; files are written in the newest
    method: str
    generators: dict[str, GeneratorInfo]  # by direction: a2b, b2a, or generate
    discriminator: DiscriminatorInfo | None = None
    direction: str  # the one to use where none is chosen
    statistics: Statistics = "image"  # that BatchNorm normalizes by when translating
    alpha: AlphaUse = "drop"  # the use of alpha that the network does not take
    layout: Layout = "auto"  # of the pairs it was trained on
    # Readers of the images of each domain. Files of format 1 and imported ones do not say.
    domains: dict[str, ImageSpec] = Field(
        default_factory=lambda fields: {
            name: default_spec(count)
            for name, count in _domain_channels(fields.get("generators", {}))
        }
    )
    # (height, width) to which images were resized in training; None: not, or not known.
    resized_to: tuple[Count, Count] | None = None
    # For people: images seen, version, training size, origin.
    facts: dict[str, Any] = Field(default_factory=dict)
    config: dict[str, Any] | None = None  # settings of the run; None: imported

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions in which the model translates images; () for a generator from noise."""
        return tuple(direction for direction in Direction if direction in self.generators)

    def to_yaml(self) -> str:
        """Return the description as YAML text."""
        fields = self.model_dump(mode="json")
        return yaml.safe_dump(fields, sort_keys=False, default_flow_style=None, width=100)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        parts = [*self.generators.values(), *filter(None, [self.discriminator])]
        for values in (self.facts, *(part.options for part in parts)):
            _check_values(values)
        if self.direction not in self.generators:
            names = " or ".join(self.generators) or "a generator"
            raise ValueError(f"direction: must be {names}, got {self.direction!r}")
        for domain, channels in _domain_channels(self.generators):
            spec = self.domains.get(domain)
            if spec is None:
                raise ValueError(f"domains.{domain}: missing")
            low, high = spec.value_range
            lowest, highest = -math.inf, math.inf
            if spec.ranged_integers:
                lowest, highest = -1.0, 2.0 ** (spec.depth or 0)
            if not lowest < low < high < highest:
                raise ValueError(
                    f"domains.{domain}.value_range: must be [low, high], low below high"
                )
            if spec.sample not in ("", *NUMBERS):
                raise ValueError(f"domains.{domain}.sample: must be a type of numbers")
            if spec.size and min(spec.size) < 1:
                raise ValueError(f"domains.{domain}.size: must be at least 1")
            if not 0 <= spec.neighbors <= MAX_NEIGHBORS:
                raise ValueError(f"domains.{domain}.neighbors: must be 0 to {MAX_NEIGHBORS}")
            counts = [one.channels for one in spec.inputs]
            if spec.channels != channels or min(counts) < 1 or spec.classes < 0:
                reason = f"must be {channels} channels, as the generators have, got {spec.channels}"
                raise ValueError(f"domains.{domain}.inputs: {reason}")
            labels = spec.mask and spec.depth in (8, 16) and spec.classes > 0
            if (spec.classes or spec.edges) and not (labels and counts == [1]):
                raise ValueError(f"domains.{domain}.classes: must be of one channel of labels")
        return self


def _check_values(values: Mapping[str, Any]) -> None:
    """Raise ValueError for infinities, NaN, and more text than options have."""
    for name, value in values.items():
        finite = not isinstance(value, float) or math.isfinite(value)
        if not finite or len(str(value)) > _MAX_WORD:
            limits = f"must be finite, and have at most {_MAX_WORD} characters"
            raise ValueError(f"{name}: {limits}, got {str(value)[:50]}")


# -- writing ---------------------------------------------------------------------------------------


def named_tensors(networks: Mapping[str, nn.Module]) -> Tensors:
    """Return the tensors of `networks` as a weights file names them: NETWORK/PARAMETER."""
    return {
        f"{name}/{key}": tensor
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }


def model_bytes(info: ModelInfo, tensors: Mapping[str, Tensor]) -> bytes:
    """Return the content of a weights file with `tensors` as `named_tensors` names them."""
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    fields = info.model_dump(mode="json") | {"format": FORMAT}
    fields["checksum"] = _checksum(fields, plain)
    return safetensors_bytes(plain, {"i2i": json.dumps(fields, sort_keys=True)})


def save_model(path: Path, info: ModelInfo, tensors: Mapping[str, Tensor]) -> None:
    """Write a weights file atomically. See `model_bytes`."""
    write_atomically(path, model_bytes(info, tensors))


def _checksum(fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


# -- reading ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """A weights file in memory."""

    path: Path
    info: ModelInfo
    tensors: Tensors  # see `named_tensors`

    def generator(self, direction: str) -> nn.Module:
        """Return the generator of one of `info.generators`, on the CPU.

        Raises:
            ModelFileError: it cannot be rebuilt, or the tensors do not fit.
        """
        return self._rebuild(self.info.generators[direction], direction)

    def discriminator(self) -> nn.Module | None:
        """Return the discriminator, as `generator` does; None where the file has none."""
        return self._rebuild(part, DISCRIMINATOR) if (part := self.info.discriminator) else None

    def _rebuild(self, part: NetworkInfo, prefix: str) -> nn.Module:
        """Take memory only when the shapes are those of the file: `part` may ask for anything."""
        names = [name for name in self.tensors if name.startswith(f"{prefix}/")]
        state = {name.partition("/")[2]: self.tensors[name] for name in names}
        limit = max([_MAX_OPTION, *(side for tensor in state.values() for side in tensor.shape)])
        try:
            for name, value in {"channels": max(part.channels), **part.options}.items():
                if isinstance(value, int) and value > limit:
                    raise ValueError(f"{name}: {value} exceeds the limit of {limit}")
            with torch.device("meta"), _at_most(4 * len(state) + 64):
                network = part.build()
        except Exception as error:  # constructors meet wrong options with many errors
            reason = f"{prefix}: cannot rebuild {part.name} with this version of i2i ({error})"
            raise ModelFileError(self.path, reason, _VERSION) from error
        try:
            types = {key: tensor.dtype for key, tensor in network.state_dict().items()}
            for key, tensor in state.items():
                state[key] = tensor.to(types.get(key, tensor.dtype), copy=True)
            network.load_state_dict(state, assign=True)
        except RuntimeError as error:
            details = printable(" ".join(str(error).split()), 200)
            reason = f"{prefix}: the tensors do not fit {part.name} ({details})"
            raise ModelFileError(self.path, reason, _RESTORE) from error
        return network


@contextmanager
def _at_most(count: int) -> Iterator[None]:
    """Refuse, inside of the block, networks of more parameters: each takes time, however small."""
    thread, built = threading.get_ident(), itertools.count(1)

    def check(_module: nn.Module, _name: str, _parameter: nn.Parameter | None) -> None:
        if threading.get_ident() == thread and next(built) > count:
            raise ValueError("it has more parameters than the file has tensors")

    with register_module_parameter_registration_hook(check):
        yield


def read_info(path: str | os.PathLike[str]) -> ModelInfo:
    """Return the description of a model as `load_model` does, without tensors and checksum."""
    return _read(weights_file(Path(path)), with_tensors=False).info


def load_model(path: str | os.PathLike[str]) -> Model:
    """Return the model in a run folder (or RUN@best), a checkpoint folder, or a weights file.

    Raises:
        ModelFileError: there is none, it is damaged (the message names the field), not written by
            i2i, or newer than this version.
    """
    return _read(weights_file(Path(path)), with_tensors=True)


def _read(path: Path, with_tensors: bool) -> Model:
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get("i2i")
            names = list(file.keys()) if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = f"not a readable weights file ({error})"
        raise ModelFileError(path, reason, f"It may be truncated. {_RESTORE}") from None
    if text is None:
        raise ModelFileError(path, "not written by i2i", _CONVERT)
    after_fork(torch.device("cpu"))
    try:
        if len(text) > _MAX_TEXT:
            raise ModelFileError(path, f"its metadata has {len(text):,} characters", _RESTORE)
        fields = json.loads(text)
        check_format(path, fields["format"])
        checksum = fields.pop("seal" if fields["format"] < 3 else "checksum", None)
        if with_tensors and fields["format"] > 1 and checksum != _checksum(fields, tensors):
            raise ModelFileError(path, "corrupt (checksum mismatch)", _RESTORE)
        for name, tensor in tensors.items():
            if tensor.dtype not in _TYPES or not bool(torch.isfinite(tensor).all()):
                kind = "infinite values or NaN" if tensor.dtype in _TYPES else tensor.dtype
                raise ModelFileError(path, f"tensor {name} holds {kind}", _RESTORE)
        _migrate(fields)
        return Model(path, ModelInfo.model_validate_json(json.dumps(fields)), tensors)
    except ModelFileError:
        raise
    except ValidationError as error:
        raise ModelFileError(path, _first_error(error), _RESTORE) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ModelFileError(path, "its metadata is corrupt", _RESTORE) from None


def check_format(path: Path, version: object) -> None:
    """Raise ModelFileError if this version cannot read files of format `version`."""
    if type(version) is not int or not 1 <= version <= FORMAT:
        reason = f"written in format {version}; this version of i2i reads 1 to {FORMAT}"
        raise ModelFileError(path, reason, "Update i2i")


def _migrate(fields: dict[str, Any]) -> None:
    """Convert the metadata of any earlier format to today's names. Values are checked later."""
    if fields["format"] >= 3:
        return
    renamed = (("generators", "law", "latent_distribution"), ("domains", "range", "value_range"))
    for group, old, new in renamed:
        for part in _mappings(fields.get(group)):
            if old in part:
                part[new] = part.pop(old)
    config = fields.get("config")
    if isinstance(config, dict):
        fields["config"] = migrate(Layer("config", config)).values
        for data in _mappings({"data": config.get("data")}):
            fields["layout"] = data.get("layout", "auto")


def _mappings(group: object) -> list[dict[str, Any]]:
    """Return the values of `group` that are mappings; others are refused when all is checked."""
    parts = group.values() if isinstance(group, dict) else ()
    return [part for part in parts if isinstance(part, dict)]


def _first_error(error: ValidationError) -> str:
    """Return "FIELD: REASON" for the first field that is wrong."""
    first = error.errors()[0]
    if first["type"] == "value_error":  # of `ModelInfo`'s own check, which names the field
        return str(first["ctx"]["error"])
    unknown = ("extra_forbidden", "unexpected_keyword_argument")
    reasons = {"missing": "missing", **dict.fromkeys(unknown, "unknown field")}
    reason = reasons.get(first["type"]) or explain(first)
    return f"{'.'.join(map(str, first['loc']))}: {reason}"
