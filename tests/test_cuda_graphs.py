"""Steps whose passes are replayed, on tapes of operators that stand for CUDA graphs, against steps that are computed."""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from commands import i2i
from runs import draw_scenes, rows, train_words
from states import equal
from tape import Tape, TapeRecorder
from test_trainer import METHODS, batch, trainer_for
from torch import Tensor, nn

from i2i.config import OptimConfig, TrainConfig
from i2i.execution import Execution
from i2i.methods._base import Images, Method, Phase
from i2i.training import trainer as trainer_module
from i2i.training.capture import CaptureError, CudaRecorder
from i2i.training.distributed import Rank
from i2i.training.graphs import StepGraphs, why_eager
from i2i.training.trainer import Trainer

REPLAYED = "steps are replayed from here on, all but the first of each kind"


def graphed(trainer: Trainer, recorder: TapeRecorder | None = None) -> Trainer:
    reason = why_eager(trainer.method, trainer.train, trainer.execution, trainer.rank)
    recorder = recorder or TapeRecorder()
    trainer.graphs = StepGraphs(trainer.device, trainer.method, recorder, reason)
    return trainer


def train(trainer: Trainer, method: str, steps: range) -> list[dict[str, float]]:
    """Return a row for every two steps: a replay writes where the one before it has written."""
    found = []
    for step in steps:
        parts = range(trainer.train.accumulate)
        trainer.step([batch(10 * step + part, method) for part in parts])
        if step % 2:
            found.append(trainer.pop_metrics())
    return found


def made(method: str, *overrides: str, execution: Execution | None = None) -> Trainer:
    trainer = trainer_for(method, *overrides)
    trainer.execution = execution or Execution()
    return trainer


def kinds(trainer: Trainer) -> int:
    return len(trainer.graphs._recordings)


def norm(kind: str) -> list[str]:
    return [f"{section}.norm={kind}" for section in ("generator", "discriminator")]


CASES: dict[str, tuple[str, list[str], int]] = {  # method, settings, kinds of steps
    **{name: (name, [], 1) for name in METHODS},
    "fastcut": ("cut", ["method.fast=true"], 1),
    "lazy penalty": ("cyclegan", ["method.r1=1", "method.penalty_interval=2"], 2),
    "critic": (
        "dcgan",
        ["method.objective=wgan-gp", "discriminator.norm=none", "method.d_steps=2"],
        2,
    ),
    "blocks": ("pix2pix", ["method.alternate=blocks", "method.d_steps=2", "method.g_steps=2"], 2),
    "accumulated": ("cyclegan", ["train.accumulate=2", "optim.clip=0.1"], 1),
    "accumulated penalty": (
        "pix2pix",
        ["train.accumulate=2", "method.r1=1", "method.penalty_interval=4", *norm("instance")],
        2,
    ),
    "features": (
        "pix2pix",
        ["method.feature_matching=10", "method.label_flip=0.2", "method.instance_noise=0.1"],
        1,
    ),
    "augmented": ("dcgan", ["method.augment=diffaugment"], 1),
    "blurred": ("pix2pix", ["generator.upsample=deconv_blur", "generator.head_layers=1"], 1),
}


@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_computed_steps_bit_for_bit(case: str) -> None:
    method, overrides, expected = CASES[case]
    steps = range(10)
    eager, replayed = made(method, *overrides), graphed(made(method, *overrides))
    torch.manual_seed(1)
    computed, state = train(eager, method, steps), eager.state()
    torch.manual_seed(1)
    assert train(replayed, method, steps) == computed
    assert equal(replayed.state(), state)
    assert replayed.graphs.pop_notices() == [REPLAYED]
    assert kinds(replayed) == expected


@pytest.mark.parametrize("execution", [Execution(split=True), Execution("bf16")])
def test_replayed_steps_are_computed_steps_in_every_execution(execution: Execution) -> None:
    eager = made("cut", execution=execution)
    replayed = graphed(made("cut", execution=execution))
    torch.manual_seed(1)
    computed, state = train(eager, "cut", range(5)), eager.state()
    torch.manual_seed(1)
    assert train(replayed, "cut", range(5)) == computed
    assert equal(replayed.state(), state)
    assert kinds(replayed) == 1


def test_resumed_and_rolled_back_runs_are_uninterrupted_ones_with_graphs_and_without() -> None:
    overrides = ["method.r1=1", "method.penalty_interval=2"]
    first = graphed(made("cyclegan", *overrides))
    train(first, "cyclegan", range(5))
    saved = copy.deepcopy(first.state())
    expected = train(first, "cyclegan", range(5, 11))
    state = first.state()
    assert kinds(first) == 2
    for other in (first, graphed(made("cyclegan", *overrides)), made("cyclegan", *overrides)):
        other.restore(copy.deepcopy(saved))  # a restored optimizer works in it
        assert train(other, "cyclegan", range(5, 11)) == expected
        assert equal(other.state(), state)


def test_first_steps_warm_up_and_later_ones_run_no_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = TapeRecorder()
    trainer = graphed(made("pix2pix"), recorder)
    train(trainer, "pix2pix", range(3))
    assert (recorder.warm_ups, recorder.tapes) == (3, [])
    train(trainer, "pix2pix", range(3, 4))
    assert (recorder.warm_ups, len(recorder.tapes)) == (3, 3)  # fakes, D, G
    monkeypatch.setattr(trainer, "forward_backward", None)
    monkeypatch.setattr(trainer.method, "forward", None)
    train(trainer, "pix2pix", range(4, 6))
    assert (recorder.warm_ups, len(recorder.tapes)) == (3, 3)


def test_batches_of_another_shape_are_of_another_kind() -> None:
    eager, replayed = made("pix2pix"), graphed(made("pix2pix"))
    for trainer in (eager, replayed):
        torch.manual_seed(1)
        for step in range(8):
            count = 1 if step in (5, 7) else 2
            trainer.step([{name: x[:count] for name, x in batch(step).items()}])
    assert equal(replayed.state(), eager.state())
    assert kinds(replayed) == 1


def test_there_is_a_largest_number_of_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("i2i.training.graphs._MOST_KINDS", 1)
    overrides = ["method.alternate=blocks", "method.d_steps=2", "method.g_steps=2"]
    eager, replayed = made("pix2pix", *overrides), graphed(made("pix2pix", *overrides))
    for trainer in (eager, replayed):
        torch.manual_seed(1)
        train(trainer, "pix2pix", range(12))
    assert equal(replayed.state(), eager.state())
    said = "used for the 1 kinds of steps seen first, no others"
    assert replayed.graphs.pop_notices() == [REPLAYED, said]


# -- what cannot be captured -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("method.augment=ada", "augment=ada adapts its probability in the program"),
        ("train.activation_checkpointing=true", "train.activation_checkpointing is on"),
    ],
)
def test_settings_that_no_graph_repeats_are_computed_and_named(override: str, reason: str) -> None:
    eager, other = made("pix2pix", override), graphed(made("pix2pix", override))
    for trainer in (eager, other):
        torch.manual_seed(1)
        train(trainer, "pix2pix", range(6))
    assert equal(other.state(), eager.state())
    assert other.graphs.pop_notices() == [f"not used: {reason}"]
    assert other.graphs.pop_notices() == []


def test_groups_compiled_networks_fp16_and_state_of_others_are_named() -> None:
    class Counted(nn.Module):
        def get_extra_state(self) -> int:
            return 1

    trainer = made("pix2pix")
    method, settings, plain, one = trainer.method, trainer.train, trainer.execution, Rank()
    compiled = settings.model_copy(update={"compile": True})
    assert why_eager(method, settings, plain, one) == ""
    assert "several processes" in why_eager(method, settings, plain, Rank(1, 2))
    assert "fp16" in why_eager(method, settings, Execution("fp16"), one)
    assert "train.compile" in why_eager(method, compiled, plain, one)
    method.teacher = Counted()
    assert why_eager(method, settings, plain, one) == "teacher has state besides tensors"


class Toy(Method):
    """One weight, and a loss to be given."""

    kind = "paired"

    def __init__(self, loss: Callable[[Tensor, int], Tensor]) -> None:
        super().__init__()
        self.G, self.loss, self.count = nn.Conv2d(3, 3, 1), loss, 0

    def fakes(self, real: Images) -> Images:
        return {"b": self.G(real["a"])}

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("G", (self.G,), self.generator_loss, live=True),)

    def translators(self) -> dict[str, nn.Module]:
        return {"a2b": self.G}

    def generator_loss(self, real: Images, fake: Images) -> dict[str, Tensor]:
        self.count += 1
        return {"loss": self.loss(fake["b"] - real["b"], self.count)}


def toy(loss: Callable[[Tensor, int], Tensor]) -> Trainer:
    torch.manual_seed(0)
    device, settings = torch.device("cpu"), TrainConfig(total_images=100)
    return Trainer(Toy(loss), settings, OptimConfig(lr=0.1), device, Execution())


VIOLATIONS: dict[str, tuple[Callable[[Tensor, int], Tensor], str]] = {
    "a number that the program counts": (lambda x, n: x.square().mean() * n, "differ"),
    "an operator in some steps": (lambda x, n: (x.abs() if n % 2 else x.square()).mean(), "differ"),
    "a random number of the host": (lambda x, n: (x * torch.rand(())).square().mean(), "host"),
    "a decision by a value": (
        lambda x, n: x.square().mean() if x.mean() > -9 else x.abs().mean(),
        "not permitted",
    ),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_computation_that_no_graph_repeats_is_noticed_and_done_by_the_program(name: str) -> None:
    loss, said = VIOLATIONS[name]
    eager, other = toy(loss), graphed(toy(loss))
    for trainer in (eager, other):
        torch.manual_seed(1)
        train(trainer, "pix2pix", range(8))
    assert equal(other.state(), eager.state())
    (notice,) = other.graphs.pop_notices()
    assert notice.startswith("not used from here on: ")
    assert said in notice
    assert kinds(other) == 0


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_capture_that_fails_changes_nothing(failing: int) -> None:
    class Failing(TapeRecorder):
        def capture(self, work: Callable[[], Any]) -> tuple[Tape, Any]:
            captured = super().capture(work)
            if len(self.tapes) > failing:
                raise torch.OutOfMemoryError("CUDA out of memory\nmore")
            return captured

    overrides = ["method.r1=1", "method.penalty_interval=4", *norm("instance")]
    eager = made("pix2pix", *overrides)
    other = graphed(made("pix2pix", *overrides), Failing())
    torch.manual_seed(1)
    computed = train(eager, "pix2pix", range(6))
    torch.manual_seed(1)
    assert train(other, "pix2pix", range(6)) == computed
    assert equal(other.state(), eager.state())
    assert other.graphs.pop_notices() == ["not used from here on: CUDA out of memory"]


def test_penalty_that_is_not_counted_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["method.r1=1", "method.penalty_interval=5", *norm("instance")]
    eager = made("pix2pix", *overrides)
    torch.manual_seed(1)
    computed = train(eager, "pix2pix", range(8))
    other = graphed(made("pix2pix", *overrides))
    monkeypatch.setattr(other.graphs, "_counting", [])
    torch.manual_seed(1)
    assert train(other, "pix2pix", range(8)) != computed


# -- torch's part ----------------------------------------------------------------------------------


class FakeCuda:
    """Stands for torch.cuda: notes calls, and says which stream is current."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[Any] = []
        self.streams = ["main"]
        self.generator = SimpleNamespace(
            clone_state=lambda: "clean", graphsafe_set_state=lambda s: self.calls.append(s)
        )
        fakes = {
            "Stream": lambda device: Stream("side", self.calls),
            "current_stream": lambda device: Stream(self.streams[-1], self.calls),
            "stream": self.stream,
            "graph_pool_handle": lambda: "pool",
            "CUDAGraph": lambda: Replayed(self.calls),
            "graph": self.graph,
            "current_device": lambda: 0,
            "default_generators": [self.generator],
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    @contextmanager
    def stream(self, stream: "Stream") -> Iterator[None]:
        before = list(self.streams)
        self.streams.append(stream.name)
        try:
            yield
        finally:
            self.streams[:] = before

    @contextmanager
    def graph(self, graph: Any, pool: str, stream: "Stream", capture_error_mode: str) -> Any:
        self.calls.append(("begin", pool, stream.name, capture_error_mode))
        self.streams.append(stream.name)  # and stays so where capture_end fails, as in torch 2.14
        yield
        self.calls.append("end")
        self.streams.pop()


class Stream:
    def __init__(self, name: str, calls: list[Any]) -> None:
        self.name, self.calls = name, calls

    def wait_stream(self, other: "Stream") -> None:
        self.calls.append(f"{self.name} waits for {other.name}")


class Replayed:
    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls

    def replay(self) -> None:
        self.calls.append("replay")


def test_cuda_recorder_warms_up_and_captures_on_one_side_stream_into_one_pool(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    recorder = CudaRecorder(torch.device("cuda"))
    with recorder.warm_up():
        assert cuda.streams[-1] == "side"
    assert cuda.calls == ["side waits for main", "main waits for side"]
    cuda.calls.clear()
    for _ in range(2):
        graph, result = recorder.capture(lambda: cuda.streams[-1])
        graph.replay()
        assert result == "side"
        assert cuda.streams == ["main"]
    assert cuda.calls == 2 * [("begin", "pool", "side", "thread_local"), "end", "replay"]


def test_cuda_recorder_leaves_stream_and_random_states_as_they_were_where_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = FakeCuda(monkeypatch)
    recorder, state = CudaRecorder(torch.device("cuda:0")), torch.get_rng_state()
    with pytest.raises(CaptureError, match="on the host"):
        recorder.capture(lambda: torch.rand(()))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(RuntimeError, match="capturing"):
        recorder.capture(functools.partial(exec, "raise RuntimeError('stream is capturing')"))
    assert cuda.streams == ["main"]
    assert cuda.calls.count("clean") == 2


# -- a whole run -----------------------------------------------------------------------------------


def test_cuda_graphs_are_refused_where_there_is_no_cuda(tmp_path: Any) -> None:
    scenes, setting = draw_scenes(tmp_path / "scenes", 5), "train.cuda_graphs=true"
    words = train_words("pix2pix", scenes, tmp_path / "run", "--images", 4, "--set", setting)
    ended = i2i(tmp_path / "log", *words)
    assert ended.status == 2
    assert "train.cuda_graphs: has no effect on cpu. Set it to false" in ended.err
    assert not (tmp_path / "run").exists()


def test_run_says_when_it_replays_and_logs_what_a_run_without_graphs_does(tmp_path: Any) -> None:
    def with_tapes() -> None:
        trainer_module.StepGraphs = lambda device, method, _, reason: StepGraphs(  # type: ignore[assignment, misc]
            device, method, TapeRecorder(), reason
        )

    scenes = draw_scenes(tmp_path / "scenes", 5)
    for name, before in (("plain", None), ("graphs", with_tapes)):
        words = train_words("pix2pix", scenes, tmp_path / name, "--images", 16)
        ended = i2i(tmp_path / "log", *words, before=before)
        assert ended.status == 0, ended.err
    plain, graphs = tmp_path / "plain", tmp_path / "graphs"
    assert rows(graphs) == rows(plain)
    assert (graphs / "weights.safetensors").read_bytes() == (
        plain / "weights.safetensors"
    ).read_bytes()
    events = rows(graphs, "events.jsonl")
    assert {"images": 8, "kind": "cuda graphs", "text": REPLAYED} in events
