"""Start from trained weights (`train.init_from`), and keep parts as they are (`train.freeze`)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from i2i import registry
from i2i.checkpoint import CHECKPOINTS, STATE, load_state, newest, steps
from i2i.config import ConfigError, Layer, merge
from i2i.methods._adversarial import AdversarialLoss
from i2i.methods._base import Method
from i2i.model_file import Model, load_model, read_info
from i2i.model_path import model_path
from i2i.options import option_fields

Tensors = Mapping[str, Tensor]
Channels = tuple[int, int]  # of the input and of the output


def init_from_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Return `layers` under the architecture of the model that they start from, if any.

    Its path becomes absolute, so that the settings of a run name it wherever they are read.

    Raises:
        ModelFileError: it cannot be read.
    """
    chosen = merge(layers)
    source = chosen.get("train", {}).get("init_from")
    if not isinstance(source, str):
        return list(layers)
    path = Path(source).absolute()
    info = read_info(path)
    name = chosen.get("generator", {}).get("name")
    part = info.generators[info.direction]
    base = []
    if name in (None, part.name):
        # an option that is newer than the file has the default of the network, not of the method
        entry = registry.find("generators", part.name)
        defaults = {key: default for key, (_, default) in option_fields(entry.factory).items()}
        options = defaults | entry.preset | part.options
        options.pop("size", None)
        base = [Layer(str(path), {"generator": {"name": part.name, **options}})]
    return [*base, *layers, Layer("init_from", {"train": {"init_from": str(path)}})]


def load_weights(method: Method, source: Path) -> tuple[str, ...]:
    """Load into `method`, in place, what the model at `source` has of its networks.

    Generators are taken by direction. Discriminators come from a run or checkpoint folder, or from
    the weights file of a generator from noise. Images with other channels than the model's: weights
    of the first layer are averaged over the old input channels, repeated, and scaled by old/new, so
    that the sum over channels stays; those of the last layer are averaged over the old output
    channels and repeated.

    Returns:
        A note for each network that keeps its random weights, and for each change of channels.

    Raises:
        ConfigError: no generator in common, or weights that do not fit.
        ModelFileError, CheckpointError: the model cannot be read.
    """
    model = load_model(source)
    translators = method.translators()
    if not translators.keys() & model.info.generators.keys():
        reason = f"{source} has {', '.join(model.info.generators)}"
        raise ConfigError("train.init_from", f"{reason}, this run trains {', '.join(translators)}")
    notes: list[str] = []
    for direction, net in translators.items():
        if direction in model.info.generators:
            notes += _load_generator(net, model, direction)
        else:
            notes.append(f"{direction} starts from random weights: {source} has none for it.")
    saved = _discriminator_tensors(model, model_path(source))
    section = (model.info.config or {}).get("discriminator")
    antialias = isinstance(section, dict) and section.get("antialias", False)
    for name, part in method.named_children():
        if not isinstance(part, AdversarialLoss):
            continue
        same = getattr(part.net, "antialias", False) == antialias  # which the shapes do not say
        if not same or not _load_if_fits(part.net, saved.get(name, {})):
            notes.append(f"{name} starts from random weights: {source} has none that fit.")
    return tuple(notes)


def _load_generator(net: nn.Module, model: Model, direction: str) -> Iterator[str]:
    saved = model.generator(direction).state_dict()
    part = model.info.generators[direction]
    old: Channels = (part.in_channels, part.out_channels)
    state = net.state_dict()
    if saved.keys() != state.keys():
        name = min(saved.keys() ^ state.keys())
        reason = f"{model.path}: {direction} is another network ({name} is in one of them only)"
        hint = f"Set generator.name={part.name}, with its options ({part.options})"
        raise ConfigError("train.init_from", reason, hint)
    adapted = False
    for name, tensor in saved.items():
        if tensor.shape != state[name].shape:
            owner = net.get_submodule(
                name.rpartition(".")[0].removesuffix(".parametrizations.weight")
            )
            transposed = isinstance(owner, nn.ConvTranspose2d)
            tensor, adapted = _adapt(name, tensor, state[name], old, transposed), True
        state[name].copy_(tensor)
    if adapted:
        yield f"{direction}: weights of the first or last layer are adapted to other channels."


def _adapt(name: str, saved: Tensor, new: Tensor, old: Channels, transposed: bool) -> Tensor:
    """Return `saved` in the shape of `new`; see `load_weights`."""
    input_dim = None if saved.dim() < 2 else 0 if transposed else 1
    for dim in range(saved.dim()):
        was, now = saved.shape[dim], new.shape[dim]
        if was != now and was != old[0 if dim == input_dim else 1]:
            reason = f"{name} is {list(saved.shape)} there, and {list(new.shape)} here"
            raise ConfigError("train.init_from", reason, "Set the options of its generator")
        if was != now:
            saved = saved.mean(dim, keepdim=True).repeat_interleave(now, dim)
            saved = saved * (was / now) if dim == input_dim else saved
    return saved


def _discriminator_tensors(model: Model, source: Path) -> dict[str, Tensors]:
    """Return the tensors of discriminators by their name in the method."""
    if (net := model.discriminator()) is not None:
        return {"D": net.state_dict()}
    checkpoints = source / CHECKPOINTS
    checkpoint = newest(checkpoints)[0] if steps(checkpoints) else source
    if not (checkpoint / STATE).is_file():
        return {}
    tensors: dict[str, dict[str, Tensor]] = {}
    for name, value in load_state(checkpoint).get("method", {}).items():
        network, marker, key = name.partition(".net.")
        if marker:
            tensors.setdefault(network, {})[key] = value
    return dict(tensors)


def _load_if_fits(net: nn.Module, saved: Tensors) -> bool:
    state = net.state_dict()
    shapes = {name: tensor.shape for name, tensor in state.items()}
    if shapes != {name: tensor.shape for name, tensor in saved.items()}:
        return False
    net.load_state_dict(saved)
    return True


def freeze(method: Method, parts: Sequence[str]) -> None:
    """Keep the weights of `parts` of `method`'s networks, such as "G.downs" or "D", as they are.

    Norms go on normalizing by the batch, as the rest of the network does.

    Raises:
        ConfigError: there is no such part, or nothing is left to train.
    """
    parameters = dict(method.named_parameters())
    for part in parts:
        names = [name for name in parameters if f"{name}.".startswith(f"{part}.")]
        if not names:
            choices = sorted({".".join(name.split(".")[:2]) for name in parameters})
            raise ConfigError("train.freeze", f"no weights in {part!r}", f"There are {choices}")
        for name in names:
            parameters[name].requires_grad_(False)
    generators = [p for net in method.translators().values() for p in net.parameters()]
    if parts and not any(parameter.requires_grad for parameter in generators):
        raise ConfigError("train.freeze", "leaves no generator to train", "Leave a part out")
