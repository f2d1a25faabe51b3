"""The choice of number format and order of memory: right, recorded, and kept by what it began."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import here
from models import write_model
from PIL import Image
from runs import draw_scenes, final_state, train_words
from states import equal
from test_trainer import METHODS, batch, settings
from torch import Tensor, nn

import i2i
from i2i import registry
from i2i.execution import Execution, ExecutionError, choose
from i2i.execution.cache import Cache
from i2i.networks.blocks import InstanceNorm
from i2i.networks.inference import per_image_statistics
from i2i.run import build
from i2i.run import execution as execution_of_run
from i2i.training.trainer import Trainer
from i2i.translation import tuning

CPU = torch.device("cpu")
ALL = Execution("bf16", channels_last=True, split=True, reason="a test", is_measured=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "i2i"


def generator(name: str = "resnet", **options: Any) -> nn.Module:
    torch.manual_seed(0)
    made: nn.Module = registry.find("generators", name).factory(3, 3, **({"width": 8} | options))
    for parameter in made.parameters():
        nn.init.normal_(parameter, 0.0, 0.1)
    return made


def picture(side: int = 32) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def timed(seconds: dict[str, float]) -> Callable[..., dict[Execution, float]]:
    """Return a stand-in for the measurement, with these seconds for each execution by its text."""

    def measure(passes: dict[Execution, Callable[[], object]], _: object) -> Any:
        for run in passes.values():
            run()
        return {one: seconds[str(one)] for one in passes}

    return measure


@pytest.fixture
def fast_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that computes in bf16, and fastest with channels last."""
    seconds = {"fp32": 1.0, "fp32, channels last": 1.2, "bf16": 0.6, "bf16, channels last": 0.5}
    monkeypatch.setattr(choose, "computes_in_bf16", lambda _: True)
    monkeypatch.setattr(choose, "_measure", timed(seconds))


# -- choosing --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast_bf16")
def test_the_fastest_execution_is_chosen_and_says_by_what_numbers() -> None:
    chosen = choose.choose(generator(), picture(), "train", 1e9, tolerance=0.1)
    assert chosen == Execution("bf16", channels_last=True, split=True)
    assert "bf16, channels last 0.5 s" in chosen.reason


@pytest.mark.usefixtures("fast_bf16")
def test_an_execution_that_differs_too_much_is_not_chosen() -> None:
    chosen = choose.choose(generator(), picture(), "translate", 1e9, tolerance=1e-4)
    assert chosen == Execution()
    assert "bf16 differs by" in chosen.reason


@pytest.mark.usefixtures("fast_bf16")
def test_little_work_is_done_plainly_without_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(choose, "_measure")
    chosen = choose.choose(generator(), picture(), "translate", 10, tolerance=0.1)
    assert chosen == Execution()
    assert not chosen.is_measured


def test_a_small_gain_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "computes_in_bf16", lambda _: False)
    monkeypatch.setattr(choose, "_measure", timed({"fp32": 1.0, "fp32, channels last": 0.95}))
    assert choose.choose(generator(), picture(), "translate", 1e9, 0.1) == Execution()


@pytest.mark.usefixtures("fast_bf16")
def test_a_test_is_done_once_for_a_network_and_a_machine(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    first = choose.choose(generator(), picture(), "train", 1e9, 0.1)
    measure = choose._measure
    monkeypatch.delattr(choose, "_measure")
    again = choose.choose(generator(), picture(), "train", 1e9, 0.1)
    assert (again, again.reason) == (first, first.reason)
    with pytest.raises(NameError):
        choose.choose(generator(blocks=2), picture(), "train", 1e9, 0.1)
    (path,) = own_cache.glob("execution-*.json")
    path.write_text("{")  # half of a file: as if there were none
    monkeypatch.setattr(choose, "_measure", measure, raising=False)
    assert choose.choose(generator(), picture(), "train", 1e9, 0.1) == first


def test_without_a_cache_folder_the_choice_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    cache = Cache("key")
    cache.save(ALL)
    assert cache.load() is None


@pytest.mark.usefixtures("fast_bf16")
@pytest.mark.parametrize("purpose", ["train", "translate"])
def test_a_test_changes_neither_network_nor_random_state(purpose: str) -> None:
    net = generator("unet", depth=3).train()
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    choose.choose(net, picture(), purpose, 1e9, 0.1)
    assert equal(before, dict(net.state_dict()))
    assert equal(state, torch.get_rng_state())
    assert net.training
    assert all(p.grad is None and p.is_contiguous() for p in net.parameters())


def test_operations_are_those_counted_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), nn.ConvTranspose2d(5, 2, 4, 2, 1))
    by_hand = 2 * 32 * 32 * (3 * 5 * 9 + 5 * 2 * 16)
    assert choose.operations(net, picture()) == by_hand
    assert choose.operations(nn.Linear(3, 3), picture()) == 0, "a network that refuses the input"


@pytest.mark.parametrize("values", [{}, {"precision": "int4"}, {"precision": "bf16", "x": 1}, [1]])
def test_a_record_of_an_unknown_execution_is_refused(values: object, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ExecutionError, match=r"record\.json"):
        Execution.read(path)
    ALL.write_new(tmp_path / "own.json")
    assert Execution.read(tmp_path / "own.json").to_dict() == ALL.to_dict()


# -- the same function -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet", "unet"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_channels_last_gives_the_same_images_without_copies_at_norms(name: str, norm: str) -> None:
    options = {"resnet": {"blocks": 2}, "unet": {"depth": 3}}[name]
    net = generator(name, norm=norm, **options).eval()
    plain = per_image_statistics(net)
    last = Execution(channels_last=True).prepare(copy.deepcopy(plain))
    orders = []
    for module in last.modules():
        if isinstance(module, InstanceNorm) or type(module).__name__ == "PerImageNorm":
            module.register_forward_hook(
                lambda _module, _inputs, y: orders.append(
                    y.is_contiguous(memory_format=torch.channels_last)
                )
            )
    with torch.no_grad():
        expected, output = plain(picture()), last(picture())
    assert torch.allclose(output, expected, atol=2e-5)
    assert orders
    assert all(orders)


@pytest.mark.parametrize("execution", [ALL, Execution(channels_last=True)], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_restored_trainer_continues_bit_for_bit_in_any_execution(
    method: str, execution: Execution
) -> None:
    def made() -> Trainer:
        chosen = settings(method)
        torch.manual_seed(0)
        networks = build.make_method(chosen, {"a": 3, "b": 3, "image": 3})
        return Trainer(networks, chosen.train, chosen.optim, CPU, execution)

    straight, other = made(), made()
    for step in range(4):
        if step == 2:
            state = copy.deepcopy(straight.state())
        straight.step([batch(step, method)])
    other.restore(state)
    for step in (2, 3):
        other.step([batch(step, method)])
    assert equal(straight.state(), other.state())


# -- runs ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


def always(execution: Execution) -> Callable[..., Execution]:
    return lambda *_arguments, **_named: execution


def test_a_run_keeps_the_execution_that_it_began_with(
    scenes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_of_run, "choose", always(ALL))
    straight = here(*train_words("cyclegan", scenes, tmp_path / "straight", "--images", "8"))
    assert "in bf16, channels last, losses one by one" in straight.err
    assert here(*train_words("cyclegan", scenes, tmp_path / "run", "--images", "4")).status == 0
    monkeypatch.setattr(execution_of_run, "choose", always(Execution()))
    resumed = here("resume", tmp_path / "run", "--images", "8")
    assert "in bf16, channels last, losses one by one" in resumed.err
    assert "as the run began: a test" in resumed.err
    manifest = next((tmp_path / "run" / "checkpoints").glob("*8/*.json")).read_text()
    assert json.loads(manifest)["execution"]["channels_last"] is True
    weights = [final_state(tmp_path / name)["method"] for name in ("straight", "run")]
    assert equal(weights[0], weights[1])


def test_explicit_precision_is_plain_and_ends_the_choice_of_a_run(
    scenes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution_of_run, "choose", always(ALL))
    words = train_words("pix2pix", scenes, tmp_path / "run", "--images", "4")
    assert "in bf16, channels last" in here(*words).err
    resumed = here("resume", tmp_path / "run", "--images", "6", "--precision", "fp32")
    assert "on cpu in fp32," in resumed.err, resumed.err


# -- jobs ------------------------------------------------------------------------------------------


def pictures(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        values = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    return folder


def test_all_shards_and_later_runs_of_a_job_have_one_execution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = write_model(tmp_path / "model", "resnet"), pictures(tmp_path / "in", 6)
    once = replace(ALL, split=False)
    monkeypatch.setattr(tuning, "choose", always(once))
    first = here("translate", model, source, tmp_path / "out", "--shard", "0/2")
    assert "computed in bf16, channels last (a test)" in first.err
    monkeypatch.setattr(tuning, "choose", always(Execution(is_measured=True)))
    second = here("translate", model, source, tmp_path / "out", "--shard", "1/2")
    assert "computed in bf16, channels last, as this job began" in second.err
    again = here("translate", model, source, tmp_path / "out")
    assert "6 already done" in again.out, again
    exact = here("translate", model, source, tmp_path / "exact", "--precision", "fp32")
    assert exact.status == 0
    assert "computed in" not in exact.err
    for path in source.iterdir():
        low, high = (np.asarray(Image.open(tmp_path / n / path.name)) for n in ("out", "exact"))
        difference = np.abs(low.astype(int) - high)
        assert 0 < difference.mean() < 2, "the same images, in another number format"


def test_a_job_of_an_earlier_version_continues_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = write_model(tmp_path / "model", "resnet"), pictures(tmp_path / "in", 3)
    here("translate", model, source, tmp_path / "out")  # too little work for a choice: no record
    assert not list((tmp_path / "out").glob(".i2i-execution-*"))
    monkeypatch.setattr(tuning, "choose", always(ALL))
    assert "3 already done" in here("translate", model, source, tmp_path / "out").out


def test_two_shards_that_choose_at_once_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, source = write_model(tmp_path / "model", "resnet"), pictures(tmp_path / "in", 4)
    other = replace(ALL, split=False)

    def late(*_: object) -> Execution:  # meanwhile the other shard has written its choice
        (tmp_path / "out").mkdir()
        job = tuning.Choice.record

        def recorded(choice: tuning.Choice) -> bool:
            monkeypatch.setattr(tuning.Choice, "record", job)
            other.write_new(choice._path)
            return job(choice)

        monkeypatch.setattr(tuning.Choice, "record", recorded)
        return Execution(is_measured=True)

    monkeypatch.setattr(tuning, "choose", late)
    ended = here("translate", model, source, tmp_path / "out", "--shard", "0/2")
    assert ended.status == 0
    assert "computed in bf16, channels last, as" in ended.err


def test_translator_in_python_is_plain_until_it_is_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = i2i.load(write_model(tmp_path / "model", "resnet"))
    assert translator.execution == Execution()
    monkeypatch.setattr(tuning, "choose", always(ALL))
    tuning.tune(translator, np.zeros((20, 30, 3), np.uint8), 10)
    assert translator.execution == ALL
