"""Jobs over folders that others touch, too: what is done, what fits into memory, who may write."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import i2i
from models import outputs, write_model, write_pictures
from peaks import measure
from processes import start, wait_for
from torch import Tensor, nn

from i2i import files, images, registry
from i2i import memory as machine
from i2i.files import sha256
from i2i.images import budget
from i2i.lock import InUseError
from i2i.translation import TranslationError, decoding, large, memory, recording, sinks
from i2i.translation.folder import Report, translate_folder
from i2i.translation.loading import load
from i2i.translation.manifest import Manifest
from i2i.translation.memory import NotEnoughMemoryError
from i2i.translation.options import Options
from i2i.translation.plan import Task
from i2i.translation.translator import Translator

RECORD = ".i2i-manifest.jsonl"


class Invert(nn.Module):
    """Returns the negative, and calls `before` with every input."""

    def __init__(self, before: Callable[[Tensor], object] = lambda x: None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(-1.0))
        self.before = before

    def forward(self, x: Tensor) -> Tensor:
        self.before(x)
        return x * self.weight


def inverter(before: Callable[[Tensor], object] = lambda x: None) -> Translator:
    return Translator(Invert(before), 3, 3, device="cpu")


def pictures(folder: Path, *names: str, side: int = 8) -> Path:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
        images.encode(pixels, path)
    return folder


def run(source: Path | str, target: Path, progress: Any = None, **options: Any) -> Report:
    return translate_folder(inverter(), source, target, Options(**options), progress)


@pytest.fixture
def job(tmp_path: Path) -> tuple[Path, Path]:
    """Inputs, and the folder with their outputs."""
    source = pictures(tmp_path / "in", "a.png", "b.png", "deep/c.png")
    assert run(source, tmp_path / "out").written == 3
    return source, tmp_path / "out"


def touch(path: Path, content: bytes | None = None) -> None:
    """Write `path` at another time."""
    before = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes() if content is None else content)
    os.utime(path, ns=(before, before + 10**10))


def flipped(content: bytes) -> bytes:
    return content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]


# -- identity --------------------------------------------------------------------------------------


def test_inputs_and_outputs_that_were_copied_are_done(job: tuple[Path, Path]) -> None:
    source, out = job
    for folder in job:
        for path in folder.rglob("*.png"):
            touch(path)
    report = run(source, out)
    assert (report.written, report.skipped) == (0, 3)


def test_input_of_equal_size_and_other_content_is_not_done(job: tuple[Path, Path]) -> None:
    source, out = job
    touch(source / "a.png", flipped((source / "a.png").read_bytes()))
    with pytest.raises(TranslationError, match=r"a\.png: would be replaced, and was made from ano"):
        run(source, out)


def test_output_that_was_damaged_at_equal_size_is_refused_and_can_be_made_again(
    job: tuple[Path, Path],
) -> None:
    source, out = job
    expected = outputs(out)
    touch(out / "b.png", flipped(expected["b.png"]))
    with pytest.raises(TranslationError, match=r"b\.png: would be replaced, and has changed since"):
        run(source, out)
    report = run(source, out, overwrite=True)
    assert (report.written, report.skipped, outputs(out)) == (1, 2, expected)


def test_damage_that_left_size_and_time_alone_is_found_by_verifying(job: tuple[Path, Path]) -> None:
    source, out = job
    for path, reason in ((out / "b.png", "has changed"), (source / "b.png", "was made from")):
        status, content = path.stat(), path.read_bytes()
        path.write_bytes(flipped(content))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert run(source, out).skipped == 3
        with pytest.raises(TranslationError, match=rf"b\.png: would be replaced, and {reason}"):
            run(source, out, verify=True)
        path.write_bytes(content)
    assert run(source, out, verify=True).skipped == 3


def test_emptied_output_is_written_again(job: tuple[Path, Path]) -> None:
    source, out = job
    expected = outputs(out)
    (out / "a.png").write_bytes(b"")
    report = run(source, out)
    assert (report.written, report.skipped, outputs(out)) == (1, 2, expected)


def test_empty_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", "a.png")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.png").touch()
    with pytest.raises(TranslationError, match="would be replaced"):
        run(source, tmp_path / "out")


def test_record_says_what_the_job_is_made_from(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", "a.png")
    run(source, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / RECORD).read_text().splitlines()]
    assert lines[0]["inputs"] == [str(source.absolute())]
    assert lines[0]["fingerprint"] == inverter().fingerprint
    assert lines[-2]["sha256"] == [sha256(source / "a.png")]
    assert lines[-2]["output_sha256"] == sha256(tmp_path / "out/a.png")
    model = Path(__file__).parent / "reliability/fixtures/format-2/pix2pix"
    assert load(os.path.relpath(model), device="cpu").path == str(model)


# -- the disk --------------------------------------------------------------------------------------


def test_output_is_announced_before_it_appears_and_recorded_after_it_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pictures(tmp_path / "in", "a.png", "b.png")
    events: list[tuple[str, ...]] = []
    fsync, add = os.fsync, Manifest.add

    def flush(handle: int) -> None:
        events.append(("flush", Path(f"/proc/self/fd/{handle}").readlink().name))
        fsync(handle)

    def record(self: Manifest, status: str, steps: Any, flush: bool = False) -> None:
        steps = list(steps)
        events.extend((status, step.output) for step in steps)
        add(self, status, steps, flush)

    def replace(source: Path, target: Path) -> None:
        events.append(("appears", target.name))
        os.replace(source, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Manifest, "add", record)
    monkeypatch.setattr(files, "replace", replace)
    run(source, tmp_path / "out")
    for name in ("a.png", "b.png"):
        order = [("writing", name), ("flush", RECORD), ("appears", name), ("flush", name)]
        positions = [events.index(event) for event in [*order, ("written", name)]]
        assert positions == sorted(positions), events


def test_group_of_outputs_is_recorded_while_the_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "_GROUP", 2)
    source = pictures(tmp_path / "in", *(f"{number}.png" for number in range(6)))

    def die(done: int, total: int) -> None:
        if done == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    process = start(run, source, tmp_path / "out", die)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert run(source, tmp_path / "out").skipped >= 2


def test_output_folder_that_is_removed_ends_the_job_and_is_not_made_again(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", *(f"{number}.png" for number in range(40)))
    out = tmp_path / "out"

    def remove(done: int, total: int) -> None:
        if done == 2:
            gone = out.rename(tmp_path / "gone")  # at once: a writer may still be adding files
            shutil.rmtree(gone)

    with pytest.raises((InUseError, files.WriteError), match="out"):
        run(source, out, remove, threads=1)
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "tile"), [("0.png", None), ("deep/0.png", None), ("deep/0.png", 8)]
)
def test_output_folder_that_is_removed_between_check_and_write_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, tile: int | None
) -> None:
    source, out = pictures(tmp_path / "in", name, side=12), tmp_path / "out"
    make = sinks.make_folder

    def remove_and_make(task: Task) -> None:
        shutil.rmtree(out)
        make(task)

    for module in (sinks, large):
        monkeypatch.setattr(module, "make_folder", remove_and_make)
    with suppress(InUseError, files.WriteError):
        assert run(source, out, tile=tile).written == 0
    assert not out.exists()


def test_outputs_that_are_removed_meanwhile_are_failures(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", *(f"deep/{number}.png" for number in range(5)))

    def remove(done: int, total: int) -> None:
        if done == 5:
            shutil.rmtree(tmp_path / "out/deep")

    report = run(source, tmp_path / "out", remove, threads=1)
    assert report.written == 0
    assert {reason for _, reason in report.failed} == {
        "its output was removed while others were written"
    }
    assert run(source, tmp_path / "out").written == 5


# -- a damaged record ------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["/etc/passwd", "../in/a.png", "deep/../../in/a.png"])
def test_path_that_leads_out_of_the_folder_is_not_read_from_the_record(
    output: str, job: tuple[Path, Path]
) -> None:
    source, out = job
    record = out / RECORD
    lines = record.read_text().splitlines()
    record.write_text("\n".join([*lines, json.dumps({**json.loads(lines[-2]), "output": output})]))
    report = run(pictures(source, "a.png", "b.png", "deep/c.png", "new.png"), out)
    assert (report.written, report.skipped) == (1, 3)
    report = run(source, out)
    assert report.notes == [f"1 lines of the record in {out} cannot be read"]


def test_endless_line_of_the_record_is_read_in_bounded_memory(job: tuple[Path, Path]) -> None:
    source, out = job
    lines = (out / RECORD).read_bytes()

    def prepare() -> None:
        with open(out / RECORD, "wb") as file:
            file.write(b'{"output": "' + b"a" * 10)
            file.truncate(400 * 2**20)
            file.seek(0, os.SEEK_END)
            file.write(b"\n" + lines)

    measured = measure(prepare, lambda _: run(source, out).skipped, out.parent)
    assert measured.answer == 3
    assert measured.growth < 100 * 2**20


# -- memory ----------------------------------------------------------------------------------------

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("unet", {"width": 32, "depth": 6}),
    ("resnet", {"width": 16, "blocks": 2}),
]


@pytest.mark.parametrize(("name", "options"), NETWORKS)
def test_need_is_predicted_within_a_half_of_what_is_measured(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    def prepare() -> Translator:
        torch.set_num_threads(1)
        network = registry.find("generators", name).factory(3, 3, **options)
        translator = Translator(network, 3, 3, device="cpu")
        translator.pixels(np.zeros((1, 64, 64, 3), np.uint8))
        return translator

    def work(translator: Translator) -> None:
        translator.pixels(np.zeros((1, 768, 1024, 3), np.uint8))

    real = measure(prepare, work, tmp_path).growth
    predicted = prepare().memory.bytes(768, 1024)
    assert real / 1.5 < predicted < real * 1.5


def test_need_grows_with_the_size_that_the_network_is_given() -> None:
    network = registry.find("generators", "unet").factory(3, 3, width=4, depth=5)
    need = Translator(network, 3, 3, device="cpu").memory.bytes
    assert need(97, 97) == need(128, 128)
    assert 3.5 < need(256, 256) / need(128, 128) < 4.5


class Odd(nn.Module):
    """Depends on the values that it is given."""

    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.mean()) > 0 else -x


def test_network_that_cannot_be_traced_is_used_without_a_prediction() -> None:
    translator = Translator(Odd(), 3, 3, device="cpu")
    assert translator.memory.bytes(64, 64) == 0
    assert translator(np.full((300, 300, 3), 255, np.uint8)).min() == 255


GROUPS = [
    (
        "0::/job/step\n",
        {
            "job/memory.max": "1000\n",
            "job/memory.current": "700\n",
            "job/memory.stat": "anon 500\ninactive_file 150\n",
            "job/step/memory.max": "max\n",
            "job/step/memory.current": "650\n",
            "job/step/memory.stat": "inactive_file 0\n",
        },
        [450],
    ),
    (
        "4:memory:/job\n3:cpuset:/\n0::/\n",
        {
            "memory/job/memory.limit_in_bytes": "500\n",
            "memory/job/memory.usage_in_bytes": "600\n",
            "memory/job/memory.stat": "total_inactive_file 30\n",
        },
        [0],
    ),
    (  # in a container, whose path is that of the machine outside
        "9:cpu,memory:/docker/1f\n",
        {
            "memory/memory.limit_in_bytes": "900\n",
            "memory/memory.usage_in_bytes": "100\n",
            "memory/memory.stat": "total_inactive_file 50\n",
        },
        [850],
    ),
    ("nonsense\n", {}, []),
]


def test_large_picture_of_a_network_that_cannot_be_traced_counts_as_a_risk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 10_000_000)
    translator = Translator(Odd(), 3, 3, device="cpu")
    assert 0.25 < translator.memory.share(1024, 1024) < 1


@pytest.mark.parametrize(("free", "times"), [(2**40, 1), (400_000_000, 3)])
def test_memory_is_asked_for_each_time_unless_there_was_plenty_a_moment_ago(
    free: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(memory, "_MOMENT", 3600)
    monkeypatch.setattr(memory, "free_bytes", lambda: asked.append(free) or free)
    translator = inverter()
    assert [translator.memory.share(256, 256) for _ in range(3)] == [0, 0, 0]
    assert len(asked) == times


@pytest.mark.usefixtures("tight")
def test_batch_that_does_not_fit_is_made_smaller(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", *(f"{number}.png" for number in range(8)), side=256)
    sizes = []

    class Spy(Translator):
        def batch(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return super().batch(x)

    translator = Spy(Invert(), 3, 3, device="cpu")
    assert translate_folder(translator, source, tmp_path / "out", Options(batch=8)).written == 8
    assert sizes == [4, 4]


@pytest.mark.usefixtures("tight")
def test_picture_that_cannot_be_decoded_in_what_is_free_is_named_with_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "MAX_BYTES", 1_000_000)
    monkeypatch.setattr(budget, "free_bytes", lambda: 5_000_000)
    source = pictures(pictures(tmp_path / "in", "a.png"), "b.webp", side=1024)
    report = run(source, tmp_path / "out")
    assert report.written == 1
    ((name, reason),) = report.failed
    assert (name, reason[:37]) == ("b.webp", "decoding it needs about 0.0 GB of mem")
    assert reason.endswith("save it as TIFF or .npy.")


@pytest.mark.parametrize(("own", "tree", "expected"), GROUPS)
def test_limits_of_control_groups_are_read(
    own: str, tree: dict[str, str], expected: list[int], tmp_path: Path
) -> None:
    for name, text in tree.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert machine._groups(tmp_path / "root", tmp_path / "own") == expected


@pytest.fixture
def tight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for 512 x 512 pixels, but not for 1024 x 1024: an inverter takes two of 12 bytes."""
    monkeypatch.setattr(memory, "free_bytes", lambda: 10_000_000)


@pytest.mark.usefixtures("tight")
def test_picture_that_does_not_fit_is_translated_in_tiles_or_listed_with_the_numbers(
    tmp_path: Path,
) -> None:
    source = pictures(pictures(tmp_path / "in", "a.png", "c.png"), "b.png", side=1024)
    report = run(source, tmp_path / "out")
    assert (report.written, report.failed) == (3, [])
    assert any("translated in tiles of" in note and "b.png" in note for note in report.notes)
    resized = run(source, tmp_path / "resized", size=(1024, 1024))  # which tiles are not
    assert [name for name, _ in resized.failed] == ["a.png", "b.png", "c.png"]
    reason = resized.failed[1][1]
    assert reason.startswith("1024x1024 pixels need about 0.0 GB of memory, 0.0 GB are free")


@pytest.mark.usefixtures("tight")
def test_single_call_that_does_not_fit_is_one_error() -> None:
    large = np.zeros((1024, 1024, 3), np.uint8)
    for image in (large, torch.zeros(3, 1024, 1024)):
        with pytest.raises(NotEnoughMemoryError, match="image: 1024x1024 pixels need about"):
            inverter()(image)
    assert inverter()(large[:512, :512]).min() == 255


def test_memory_that_ends_in_a_single_call_is_one_error() -> None:
    def end(x: Tensor) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(NotEnoughMemoryError, match="not enough memory for 8x4 pixels"):
        inverter(end)(np.zeros((4, 8, 3), np.uint8))


def test_picture_that_killed_a_job_is_left_out_and_named_until_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 70_000_000)  # 1024 x 1024 takes 29 of them
    source = pictures(pictures(tmp_path / "in", "a.png", "c.png"), "b.png", side=1024)

    def kill(x: Tensor) -> None:
        if x.device.type == "cpu" and x.shape[-1] == 1024:
            os.kill(os.getpid(), signal.SIGKILL)

    process = start(translate_folder, inverter(kill), source, tmp_path / "out")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    for _ in range(2):
        report = run(source, tmp_path / "out")
        ((name, reason),) = report.failed
        assert (name, report.written + report.skipped) == ("b.png", 2)
        assert "--retry-killed" in reason
    assert run(source, tmp_path / "out", retry_killed=True).written == 1
    assert run(source, tmp_path / "out").skipped == 3


def test_picture_that_was_stopped_on_purpose_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 70_000_000)
    source = pictures(tmp_path / "in", "b.png", side=1024)

    def stop(x: Tensor) -> None:
        if x.device.type == "cpu":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        translate_folder(inverter(stop), source, tmp_path / "out")
    assert run(source, tmp_path / "out").written == 1


# -- links and names -------------------------------------------------------------------------------


def test_links_in_patterns_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pictures(tmp_path / "in", "a.png", "x/b.png", "x/y/c.jpg")
    for name in ("one", "two", "three"):  # glob follows each of them from each of them
        (source / "x" / name).symlink_to(source)
    (source / "self").symlink_to(source / "self")
    (source / "x/note.txt").touch()
    report = run(f"{source}/**/*.png", tmp_path / "png")
    assert (sorted(outputs(tmp_path / "png")), report.ignored) == (["a.png", "x/b.png"], 0)
    report = run(f"{source}/**", tmp_path / "all")
    assert (report.written, report.notes) == (3, ["2 other files: no suffix (1), .txt (1)"])
    assert run(f"{source}/**/y/*", tmp_path / "y").written == 1
    assert run(f"{source}/x/**/c.*", tmp_path / "c").written == 1


def test_link_to_itself_and_second_names_are_no_failures(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", "a.png", "deep/b.png")
    (source / "deep/self").symlink_to(source / "deep/self")
    (source / "again").symlink_to(source / "deep")
    report = run(source, tmp_path / "out")
    assert (report.written, report.failed) == (2, [])
    assert "links to folders that are read by another name: again" in report.notes


def test_files_that_are_not_read_are_counted_by_suffix(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", "a.png")
    for name in ("1.heic", "2.HEIC", "x.txt"):
        (source / name).touch()
    assert run(source, tmp_path / "out").notes == ["3 other files: .heic (2), .txt (1)"]


NAMES = ["x" * 251 + ".png", "x" * 240 + ".png", "é" * 125 + ".png", "🙂" * 62 + ".jpg"]


@pytest.mark.parametrize("name", NAMES)
def test_names_as_long_as_a_file_system_takes_are_written(name: str, tmp_path: Path) -> None:
    assert 243 < len(os.fsencode(name)) <= 255
    source = pictures(tmp_path / "in", name)
    assert run(source, tmp_path / "out").written == 1
    assert list(outputs(tmp_path / "out")) == [name]


# -- two writers -----------------------------------------------------------------------------------


def slowly(source: Path, out: Path, folder: Path, **options: Any) -> None:
    """Translate, waiting after the first image until `folder` has a file named end."""

    def wait(done: int, total: int) -> None:
        (folder / "begun").touch()
        wait_for((folder / "end").exists, 60, "the end")

    run(source, out, wait, **options)


def test_two_jobs_do_not_write_into_one_folder_but_shards_of_one_do(tmp_path: Path) -> None:
    source = pictures(tmp_path / "in", *(f"{number}.png" for number in range(8)))
    out = tmp_path / "out"
    for options, refusals, partner in (
        ({}, [{}, {"shard": (0, 2)}], None),
        ({"shard": (0, 2)}, [{}, {"shard": (0, 2)}, {"shard": (1, 3)}, {"shard": (1, 2), "size": 4}], (1, 2)),
    ):  # fmt: skip
        for path in (out, tmp_path / "begun", tmp_path / "end"):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        process = start(lambda given: slowly(source, out, tmp_path, **given), options)
        wait_for((tmp_path / "begun").exists, 60, "the first job")
        for refused in refusals:
            with pytest.raises(InUseError, match="another process"):
                run(source, out, overwrite=True, **refused)
        if partner:
            assert run(source, out, shard=partner).failed == []
        (tmp_path / "end").touch()
        process.join()
        assert process.exitcode == 0
        assert run(source, out).skipped == 8


def test_output_that_verifying_finds_damaged_is_repaired_by_the_command_that_the_error_names(
    tmp_path: Path,
) -> None:
    model, photos = write_model(tmp_path / "model", "resnet"), write_pictures(tmp_path / "in", 2)
    out = tmp_path / "out"
    words = ("translate", model, photos, out)
    assert i2i(tmp_path / "1", *words).status == 0
    output = next(path for path in sorted(out.rglob("*.png")))
    intact, times = output.read_bytes(), output.stat()
    output.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    os.utime(output, ns=(times.st_atime_ns, times.st_mtime_ns))  # as bits rot
    ended = i2i(tmp_path / "2", *words, "--verify")
    assert ended.status == 2
    assert "pass --verify --overwrite" in ended.err
    assert i2i(tmp_path / "3", *words, "--verify", "--overwrite").status == 0
    assert output.read_bytes() == intact


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_picture_for_whose_size_memory_ends_is_listed_and_the_rest_is_translated(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    translator = load(write_model(tmp_path / "model", "resnet"))
    photos = write_pictures(tmp_path / "in", 3)
    fit = decoding._fit

    def fail_on_the_second(pixels: Any, translator: Any, task: Any, options: Any) -> Any:
        if "001" in task.relative:
            raise error
        return fit(pixels, translator, task, options)

    monkeypatch.setattr(decoding, "_fit", fail_on_the_second)
    report = translate_folder(translator, photos, tmp_path / "out")
    assert report.written == 2
    assert [reason for _, reason in report.failed] == ["not enough memory to read it at this size"]
