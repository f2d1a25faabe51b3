"""`i2i bench`: contenders that take turns, counts by hand, and numbers that are what the page says."""

import json
import multiprocessing
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Ended, here
from models import write_model
from PIL import Image
from torch import nn

from i2i.bench import data, machine, report, scale, train, turns
from i2i.bench.pictures import photo, write_photos
from i2i.bench.turns import BenchError, Contender, Turn, take_turns
from i2i.bench.variants import make_trainer
from i2i.run import build

CPU = torch.device("cpu")
TINY = ["--size", 32, "--width", 4, "--repeats", 2, "--device", "cpu"]
ROW = {"name", "seconds", "cpu_seconds", "images_per_second", "peak_bytes"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork instead of importing torch in every process, and measure rates once on small matrices."""
    monkeypatch.setattr(turns, "START", "fork")
    monkeypatch.setattr(machine, "_SIDES", {"cpu": 256})
    monkeypatch.setattr(machine, "_RATE_RUNS", 1)
    monkeypatch.setattr(machine, "_COPIED", {"cpu": 2**16})


def measured(tmp_path: Path, *words: object) -> dict[str, Any]:
    """Run a command and return its JSON."""
    path = tmp_path / "numbers.json"
    done = here("bench", *words, "--json", path)
    assert done.status == 0, done
    assert done.out.splitlines()[1].startswith(f"torch {torch.__version__}")
    return json.loads(path.read_text("utf-8"))


class Diary:
    """Work that writes a line whenever it is done."""

    device, weights = CPU, 0

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    def _write(self, what: str) -> None:
        with open(self.path, "a") as file:
            file.write(f"{what}{self.name} ")

    def warm_up(self) -> None:
        self._write("warm ")

    def repeat(self) -> Turn:
        self._write("")
        return Turn(2, 4.0, 1.0)

    def facts(self) -> dict[str, Any]:
        self._write("facts ")
        return {"flops": 100, "matmul_rate": 1000.0}

    def close(self) -> None:
        self._write("end ")


class Dying(Diary):
    def repeat(self) -> Turn:
        os._exit(7)


class Failing(Diary):
    def repeat(self) -> Turn:
        raise BenchError("the work", "went wrong")


def test_contenders_are_warm_before_they_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "diary.txt"
    contenders = [Contender(name, [partial(Diary, path, name)]) for name in "AB"]
    take_turns(contenders, 3)
    text = path.read_text().split(" end ")[0]
    assert text.startswith("warm A warm B A B A B A B facts A facts B")
    row = report.row(contenders[0], images=3)
    assert row["seconds"] == {"median": 2.0, "min": 2.0, "max": 2.0, "values": [2.0] * 3}
    assert row["images_per_second"] == 1.5
    assert row["matmul_share"] == 100 / 2.0 / 1000.0


class Filling(Diary):
    """Work that takes 64 MiB, after a warm-up with more and with weights of 8."""

    weights = 8 * 2**20

    def warm_up(self) -> None:
        self.kept = bytearray(self.weights)
        bytearray(2**28)

    def repeat(self) -> Turn:
        bytearray(2**26)
        return Turn(1, 1.0, 1.0)


@pytest.mark.skipif(machine.resident() is None, reason="the system does not say what is resident")
def test_peak_is_that_of_the_turns_without_weights(tmp_path: Path) -> None:
    contender = Contender("filling", [partial(Filling, tmp_path / "diary.txt", "A")])
    take_turns([contender], 2)
    assert contender.facts["peak_bytes"] == pytest.approx(2**26, rel=0.2)


class Starting(Diary):
    def facts(self) -> dict[str, Any]:
        return {"method": multiprocessing.get_context().get_start_method()}


def test_processes_of_a_contender_start_others_as_the_command_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: "forkserver")
    contender = Contender("starting", [partial(Starting, tmp_path / "diary.txt", "A")])
    take_turns([contender], 1)
    assert contender.facts["method"] == "forkserver"


def test_process_that_dies_is_named_with_its_status(tmp_path: Path) -> None:
    contender = Contender("plain", [partial(Dying, tmp_path / "diary.txt", "A")])
    with pytest.raises(BenchError, match=r"plain: its process died \(exit status 7\)"):
        take_turns([contender], 1)


def test_error_of_one_process_of_a_group_does_not_wait_for_the_others(tmp_path: Path) -> None:
    path = tmp_path / "diary.txt"
    contender = Contender("two", [partial(Diary, path, "A"), partial(Failing, path, "B")])
    with pytest.raises(BenchError, match="the work: went wrong"):
        take_turns([contender], 1)


def test_ratio_of_a_row_to_itself_is_one_and_of_twice_the_time_two() -> None:
    times = report.spread([1.0, 4.0, 2.0])
    row = {"name": "x", "seconds": times, "cpu_seconds": None, "peak_bytes": 10}
    same = report.ratio(row, row)
    assert same["time"] == same["speed"] == report.spread([1.0, 1.0, 1.0])
    assert same["memory"] == 1
    assert same["cpu_time"] is None
    slow = row | {"seconds": report.spread([2.0, 16.0, 2.0]), "peak_bytes": 20}
    ratio = report.ratio(slow, row)
    assert ratio["time"] == report.spread([2.0, 4.0, 1.0])
    assert ratio["speed"] == report.spread([0.5, 0.25, 1.0])
    assert ratio["memory"] == 2


def test_flops_and_bytes_of_a_small_network_are_those_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 4, stride=2))
    x = torch.rand(2, 3, 10, 12, requires_grad=True)
    first, second = 2 * 10 * 12 * 8 * (3 * 3 * 3), 2 * 4 * 5 * 2 * (8 * 4 * 4)  # multiplications
    assert machine.count_flops(lambda: network(x)) == 2 * (first + second)
    backward = machine.count_flops(lambda: network(x).sum().backward()) - 2 * (first + second)
    assert backward == 2 * 2 * (first + second)  # to inputs and to weights
    sizes = [2 * 3 * 10 * 12, *3 * [2 * 8 * 10 * 12], 2 * 8 * 10 * 12, 2 * 2 * 4 * 5]
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert machine.layer_bytes(network, lambda: network(x)) == 4 * (sum(sizes) + weights)


def test_processor_is_read_from_the_system(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("model name\t: Fast CPU\nflags\t\t: fpu avx2 amx_bf16\n\nmodel name\t: Other\n")
    assert machine.processor(path) == ("Fast CPU", {"fpu", "avx2", "amx_bf16"})
    assert machine.processor(tmp_path / "none")[1] == set()


def test_baseline_is_fp32_with_an_adam_that_updates_tensor_after_tensor() -> None:
    job = train.Job(("pix2pix",), size=32, width=4, precision="bf16")
    settings = job.settings("pix2pix")
    for variant, precision, fused in (("baseline", "fp32", False), ("default", "bf16", True)):
        method = build.make_method(settings, {"a": 3, "b": 3})
        trainer = make_trainer(variant, settings, method, "cpu")  # type: ignore[arg-type]
        assert trainer.execution.precision == precision
        for each in trainer.optimizers.values():
            (group,) = each.adam.param_groups
            assert group["fused"] is fused
            assert not group["foreach"]
            assert group["lr"] == settings.optim.lr
            assert tuple(group["betas"]) == settings.optim.betas


def test_train_writes_every_number_of_two_methods(tmp_path: Path) -> None:
    words = ["--method", "pix2pix,dcgan", *TINY, "--batch", 2, "--steps", 1]
    numbers = measured(tmp_path, "train", *words)
    assert numbers.keys() == {"command", "machine", "settings", "rows", "ratios"}
    assert numbers["machine"]["torch"] == torch.__version__
    assert numbers["settings"]["size"] == 32
    names = [f"{name} {variant}" for name in ("pix2pix", "dcgan") for variant in ("default", "baseline")]  # fmt: skip
    assert [row["name"] for row in numbers["rows"]] == names
    for row in numbers["rows"]:
        assert row.keys() >= ROW | {"execution", "flops", "matmul_rate", "matmul_share"}
        assert len(row["seconds"]["values"]) == 2
        assert row["seconds"]["min"] <= row["seconds"]["median"] <= row["seconds"]["max"]
        assert row["peak_bytes"] >= 0
    assert numbers["rows"][0]["flops"] == numbers["rows"][1]["flops"] > 0
    pairs = [(names[0], names[1]), (names[2], names[3])]
    assert [(ratio["of"], ratio["to"]) for ratio in numbers["ratios"]] == pairs
    assert all(ratio["cpu_speed"]["median"] > 0 for ratio in numbers["ratios"])


def test_methods_are_compared_with_the_one_they_simplify_where_both_are_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = {"cpu_seconds": None, "peak_bytes": 100}
    whole = {"name": "cyclegan default", "seconds": report.spread([2.0, 4.0])} | times
    cut = {"name": "cut default", "seconds": report.spread([1.0, 2.0])} | times | {"peak_bytes": 55}
    assert train._against_others([cut]) == []
    (ratio,) = train._against_others([whole, cut])
    assert ratio["time"] == report.spread([0.5, 0.5])
    line = "cut default: 0.50x (0.50..0.50) the time of cyclegan default, 0.55x its memory"
    assert capsys.readouterr().out.strip() == line
    rows = [times | {"name": f"{n} default", "seconds": report.spread(s)} for n, s in (("pix2pix", [4.0]), ("regress", [2.0]))]  # fmt: skip
    (ratio,) = train._against_others(rows)
    assert (ratio["of"], ratio["to"]) == ("regress default", "pix2pix default")
    assert ratio["time"] == report.spread([0.5])


def test_steps_of_a_repetition_take_about_a_second_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = train.Steps(train.Job(("dcgan",), size=32, width=4, batch=2), "dcgan", "baseline")
    monkeypatch.setattr(train, "timed", lambda units, work, device: Turn(units, 0.1, 0.1))
    steps.warm_up()
    assert steps.repeat().units == 10


@pytest.mark.parametrize("method", ["dcgan", "pix2pix", "regress", "fastcut"])
def test_published_sizes_are_measured_where_none_is_given(method: str) -> None:
    settings = train.Job((method,)).settings(method)
    assert settings.data.crop_size == (64 if method == "dcgan" else 256)
    assert settings.train.batch == (128 if method == "dcgan" else 1)
    assert settings.generator.options()["width"] == 64
    assert settings.method.options().get("fast", False) is (method == "fastcut")


def test_data_measures_workers_beside_the_pipeline_of_the_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_WORKERS", (0, 1))
    words = ["--images", 4, "--size", 48, "--load-size", 36, "--crop-size", 32, "--samples", 5]
    numbers = measured(tmp_path, "data", *words, "--batch", 2, "--repeats", 1)
    rows = {row["name"]: row for row in numbers["rows"]}
    assert list(rows) == [
        f"{variant}, {count} workers" for count in (0, 1) for variant in ("default", "baseline")
    ]
    assert rows["default, 0 workers"]["bytes"] == 2 * 3 * (48 * 48 + 4 * 32 * 32)
    assert rows["default, 0 workers"]["copy_share"] > 0
    assert rows["default, 1 workers"]["cpu_seconds"] is None
    for row in rows.values():  # a sample has an image of each domain
        assert row["images_per_second"] == pytest.approx(2 / row["seconds"]["median"])
    assert [ratio["to"] for ratio in numbers["ratios"]] == list(rows)[1::2]


def test_pipeline_of_the_field_gives_the_samples_of_the_data_set(tmp_path: Path) -> None:
    for number in range(2):
        picture = Image.fromarray(photo(number, 40)[:20])  # 40 x 20: a pair of squares
        (tmp_path / "train").mkdir(exist_ok=True)
        picture.save(tmp_path / "train" / f"{number}.png")
    job = data.Job(str(tmp_path), "pix2pix", load_size=18, crop_size=16)
    samples = data._Plain(build.open_data(job.settings(str(tmp_path))))
    assert len(samples) == 2
    images = samples[1]
    assert [tuple(image.shape) for image in images] == [(3, 16, 16)] * 2
    assert all(image.dtype == torch.float32 for image in images)
    assert all(-1 <= image.min() < image.max() <= 1 for image in images)
    assert not torch.equal(*images)


def test_photographs_are_as_large_as_real_ones_in_files(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 2, 256)
    sizes = [8 * path.stat().st_size / 256**2 for path in sorted(folder.iterdir())]
    assert len(sizes) == 2
    assert all(2 < bits < 4 for bits in sizes), sizes  # a pixel


@pytest.mark.parametrize("own", [True, False])
def test_translate_compares_files_to_files_with_the_network_alone(
    own: bool, tmp_path: Path
) -> None:
    model = [write_model(tmp_path / "model", "unet")] if own else ["--generator", "resnet", "--width", 2]  # fmt: skip
    words = [*model, "--images", 2, "--size", 32, "--repeats", 1, "--device", "cpu"]
    numbers = measured(tmp_path, "translate", *words)
    job, plain, network = numbers["rows"]
    assert [row["name"] for row in numbers["rows"]] == ["default", "baseline", "network alone"]
    assert job["flops"] == plain["flops"] == network["flops"] > 0
    assert network["bytes"] > 0
    assert network["copy_share"] > 0
    speed = numbers["ratios"][1]["speed"]["median"]
    assert speed == pytest.approx(network["seconds"]["median"] / job["seconds"]["median"])


def test_scale_measures_two_processes_and_predicts_more(tmp_path: Path) -> None:
    words = ["--method", "dcgan", *TINY, "--batch", 2, "--steps", 1, "--link", 8]
    numbers = measured(tmp_path, "scale", *words)
    one, two = numbers["rows"]
    assert two["images_per_second"] == pytest.approx(4 / two["seconds"]["median"])
    settings = train.Job(("dcgan",), size=32, width=4).settings("dcgan")
    method = build.make_method(settings, {"image": 3})
    assert one["gradient_bytes"] == 4 * build.count_parameters(method)
    prediction = numbers["prediction"]
    assert prediction["link"] == 1e9
    assert prediction["measured_link"] == two["link"] > 0
    assert [step["processes"] for step in prediction["steps"]] == [8, 64]


def test_prediction_follows_the_formula_of_a_ring() -> None:
    (one, four) = scale.predict(0.5, 3, gradient_bytes=100, link=1000.0, processes=[1, 4])
    assert one == {"processes": 1, "seconds": 0.5, "images_per_second": 6.0, "efficiency": 1.0}
    assert four["seconds"] == pytest.approx(0.5 + 2 * 3 / 4 * 100 / 1000)
    assert four["images_per_second"] == pytest.approx(12 / 0.65)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["data", ".", "--size", 64], "--size: only for drawn images"),
        (["data", ".", "--images", 4], "--images: only for drawn images"),
        (["data", "nowhere"], "nowhere"),
        (["translate", ".", "--width", 4], "--width: MODEL has its own"),
        (["translate", ".", "--generator", "resnet"], "--generator: MODEL has its own"),
        (["translate", "nowhere"], "nowhere"),
        (["translate", "--generator", "dcgan"], "--generator: dcgan makes images from noise"),
        (["translate", "--generator", "resnt"], "Did you mean resnet"),
        (["train", "--method", "cyclegan,gan"], "there is no method 'gan'"),
        (["train", "--method", "cut,cut"], "--method: names a method twice"),
        (["scale", "--method", "gan"], "there is no method 'gan'"),
        (["train", "--json", "numbers.txt"], "must end in .json"),
        (["train", "--json", "there.json"], "there.json: exists"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_cannot_be_measured_is_refused(
    words: list[object], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").write_text("{}")
    done: Ended = here("bench", *words)
    assert done.status == 2
    assert error in done.err
