"""The fastest execution of a network on this machine, by a test of about two seconds."""

import copy
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor, nn

from i2i import __version__
from i2i.execution import Execution
from i2i.execution.cache import Cache
from i2i.networks.inference import inference
from i2i.networks.tracing import without_content
from i2i.precision import computes_in_bf16, machine_name, pick_precision

MIN_WORK = {
    "train": 2e13,
    "translate": 5e12,
}  # operations: with less a test does not pay for itself
_GAIN = 1.1  # a smaller one may be noise, and changes the rounding for nothing
_ROUNDS, _SECONDS = 3, 2.0  # rounds of a test; none begins after so long


def choose(
    network: nn.Module, sample: Tensor, purpose: str, images: float, tolerance: float
) -> Execution:
    """Return the fastest execution of `network` whose output is right.

    Args:
        network: on its device; it does not change.
        sample: an input of the size to come, on the device: [N, C, H, W].
        purpose: "train", with gradients, or "translate".
        images: how many inputs like a sample's are to come; where that is little work, the
            execution is the plain one.
        tolerance: largest difference of an output in [-1, 1] from float32.
    """
    plain = plainest(sample.device)
    passes = images * (3 if purpose == "train" else 1)
    need = MIN_WORK[purpose]
    if passes * _bound(network, sample) < need or passes * operations(network, sample[:1]) < need:
        return replace(plain, reason="the work is too small for a test of speed")
    others = [one for one in candidates(sample.device) if one != plain]
    if not others:
        return replace(plain, reason="nothing faster is known for this device")
    cache = Cache(_key(network, sample, purpose, tolerance))
    if earlier := cache.load():
        return earlier
    with _deterministic_random(sample.device):
        best = _fastest(network, sample, purpose, [plain, *others], tolerance)
    cache.save(best)
    return best


def plainest(device: torch.device) -> Execution:
    """Return the execution without a test: bf16 on GPUs that compute in it, else float32."""
    return Execution(pick_precision("auto", device))


def is_emulated(execution: Execution, device: torch.device) -> bool:
    """Return True if `device` lacks the number format, so that it is slower than float32."""
    return execution.precision == "bf16" and not computes_in_bf16(device)


def candidates(device: torch.device) -> list[Execution]:
    """Return the executions that may be fast on `device`."""
    precisions = ["fp32", "bf16"] if computes_in_bf16(device) else ["fp32"]
    if device.type == "cuda":
        precisions = precisions[-1:]
    layouts = (False,) if device.type == "mps" else (False, True)
    return [Execution(precision, layout) for precision in precisions for layout in layouts]


def operations(network: nn.Module, sample: Tensor) -> int:
    """Return the floating point operations of one pass, 0 for a network that cannot be traced."""
    from torch.utils.flop_counter import FlopCounterMode  # imports half of torch's compiler

    try:
        with torch.no_grad(), FlopCounterMode(display=False) as count:
            without_content(network, "meta")(torch.empty_like(sample, device="meta"))
    except Exception:  # of components of others, too
        return 0
    return int(count.get_total_flops())


def _bound(network: nn.Module, sample: Tensor) -> float:
    """Return more operations than a pass can have: each weight is used once a pixel, or less."""
    height, width = getattr(network, "size", None) or sample.shape[-2:]
    return 2.0 * height * width * sum(parameter.numel() for parameter in network.parameters())


# -- the test --------------------------------------------------------------------------------------


def _fastest(
    network: nn.Module, sample: Tensor, purpose: str, executions: list[Execution], tolerance: float
) -> Execution:
    plain = executions[0]
    nets = {layout: copy.deepcopy(network) for layout in {one.channels_last for one in executions}}
    exact = _output(Execution().prepare(nets[False]), sample, Execution())
    passes: dict[Execution, Callable[[], object]] = {}
    notes = []
    for one in executions:
        net = one.prepare(nets[one.channels_last])
        difference = (_output(net, sample, one) - exact).abs().max()
        if one == plain or difference <= tolerance:
            passes[one] = _pass(net, sample, one, purpose)
        else:
            notes.append(f"{one} differs by {float(difference):.2g}")
    seconds = _measure(passes, sample.device)
    best = min(seconds, key=lambda one: seconds[one])
    gain = seconds[plain] / seconds[best]
    if gain < _GAIN:
        best = plain
    times = [f"{one} {value:.3g} s" for one, value in seconds.items()]
    reason = f"measured: {'; '.join([*times, *notes])}"
    return replace(best, split=purpose == "train", reason=reason, is_measured=True)


def _output(net: nn.Module, sample: Tensor, execution: Execution) -> Tensor:
    """Return the output without dropout, as float32."""
    with inference(net) as used, execution.context(sample.device):
        output: Tensor = used(sample)
    return output.float()


def _pass(
    net: nn.Module, sample: Tensor, execution: Execution, purpose: str
) -> Callable[[], object]:
    def forward() -> Tensor:
        with execution.context(sample.device):
            output: Tensor = net(sample)
        return output

    def forward_backward() -> None:
        net.zero_grad(set_to_none=True)
        torch.autograd.backward(forward().float().square().mean())

    return torch.no_grad()(forward) if purpose == "translate" else forward_backward


def _measure(
    passes: Mapping[Execution, Callable[[], object]], device: torch.device
) -> dict[Execution, float]:
    """Return the median seconds of each, measured in turn after a pass that chooses kernels."""
    times: dict[Execution, list[float]] = {one: [] for one in passes}
    began = 0.0
    for number in range(_ROUNDS + 1):
        for one, run in passes.items():
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                times[one].append(time.perf_counter() - start)
        if number and time.perf_counter() - began > _SECONDS:
            break
        began = began or time.perf_counter()
    return {one: median(values) for one, values in times.items()}


@contextmanager
def _deterministic_random(device: torch.device) -> Iterator[None]:
    """Leave the random state of a run as it was."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(0)
        yield


def _key(network: nn.Module, sample: Tensor, purpose: str, tolerance: float) -> str:
    """Return a hash of all that the result of a test depends on, but for the weights."""
    shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    text = (
        f"{__version__} {torch.__version__} {machine_name(sample.device)} "
        f"{torch.get_num_threads()} {network} {shapes} {tuple(sample.shape)} {purpose} {tolerance}"
    )
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
