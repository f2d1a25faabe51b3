"""`--engine ray`: every image written once, whichever worker is killed, as without it."""

import json
import os
import pickle
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import here
from models import outputs, write_model, write_pictures
from processes import start, wait_for
from test_translate_tars import pack, samples

from i2i.files import DiskFullError
from i2i.translation import TranslationError, on_ray, sinks
from i2i.translation.folder import Report, translate_folder
from i2i.translation.on_ray import Ray
from i2i.translation.options import Options
from i2i.translation.summary import summarize
from i2i.translation.translator import load


class ActorError(Exception):
    pass


class FakeRay:
    """Runs the calls of actors here, one after the other, through pickle; `dies` says which kill their actor."""

    def __init__(self, dies: Callable[[list[str]], bool] = lambda names: False) -> None:
        self.dies, self.actors, self.is_down = dies, 0, False
        self.exceptions = SimpleNamespace(
            RayActorError=ActorError, WorkerCrashedError=ActorError, OutOfMemoryError=ActorError
        )
        self.is_initialized = lambda: False
        self.cluster_resources = lambda: {"CPU": 2.0}
        self.addresses: list[str] = []

    def init(self, address: str, **options: Any) -> None:
        self.addresses.append(address)

    def shutdown(self) -> None:
        self.is_down = True

    def remote(self, **resources: int) -> Any:
        assert resources == {"num_cpus": 1}

        def decorate(cls: type) -> Any:
            def create(job: Any) -> Any:
                self.actors += 1
                actor, dead = cls(pickle.loads(pickle.dumps(job))), list[bool]()

                def call(chunk: list[Any]) -> Any:
                    def result() -> Any:
                        assert not dead, "a dead worker is called"
                        if self.dies([task.relative for task in chunk]):
                            actor.translate(chunk[: len(chunk) // 2])
                            chunk[-1].target.with_name(f".{chunk[-1].target.name}.tmp-7").touch()
                            dead.append(True)
                            raise ActorError
                        return pickle.loads(pickle.dumps(actor.translate(chunk)))

                    return result

                return SimpleNamespace(translate=SimpleNamespace(remote=call))

            return SimpleNamespace(remote=create)

        return decorate

    def wait(self, calls: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return calls[:num_returns], calls[num_returns:]

    def get(self, call: Any) -> Any:
        return call()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = write_pictures(tmp_path / "in", 24, side=16)
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", "resnet")


def run(model: Path, source: Any, out: Path, progress: Any = None, **engine: Any) -> Report:
    translator = load(model, device="cpu", precision="fp32")
    return translate_folder(translator, source, out, Options(), progress, **engine)


def use(monkeypatch: pytest.MonkeyPatch, fake: FakeRay) -> FakeRay:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def written(out: Path) -> Counter[str]:
    lines = map(json.loads, (out / ".i2i-manifest.jsonl").read_text().splitlines())
    return Counter(line["path"] for line in lines if line["status"] == "written")


def test_worker_that_is_killed_loses_nothing_and_nothing_is_recorded_twice(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(model, source, tmp_path / "whole")
    deaths = iter([False, False, True, False, True] + [False] * 99)
    fake = use(monkeypatch, FakeRay(lambda names: next(deaths)))
    monkeypatch.setattr(on_ray, "_GROWTH", 3)
    calls: list[tuple[int, int]] = []
    report = run(model, source, tmp_path / "out", lambda *state: calls.append(state), engine=Ray())
    assert (report.written, report.failed, report.notes) == (24, expected.failed, expected.notes)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert written(tmp_path / "out") == written(tmp_path / "whole")
    assert calls[-1] == (25, 25)
    assert (fake.actors, fake.is_down, fake.addresses) == (4, True, ["local"])
    assert not list((tmp_path / "out").rglob(".*.tmp-*"))
    assert summarize(tmp_path / "out").shards[0].written == 24
    assert run(model, source, tmp_path / "out").skipped == 24


def test_image_that_kills_every_worker_is_listed_and_the_others_are_written(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = use(monkeypatch, FakeRay(lambda names: "006.png" in names))
    report = run(model, source, tmp_path / "out", engine=Ray())
    assert [name for name, _ in report.failed] == ["006.png", "bad.png"]
    assert "killed 3 times" in report.failed[0][1]
    assert (report.written, fake.actors) == (23, 5)


def test_tars_are_translated_by_workers_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        pack(tmp_path / f"in/{number}.tar", [*samples(4 * number, 4), ("bad.png", b"text")])
    expected = run(model, f"{tmp_path}/in/*.tar", tmp_path / "whole")
    deaths = iter([True] + [False] * 99)
    use(monkeypatch, FakeRay(lambda names: next(deaths)))
    report = run(model, f"{tmp_path}/in/*.tar", tmp_path / "out", engine=Ray())
    assert (report.written, report.failed) == (12, expected.failed)
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")


def test_errors_of_a_worker_that_end_a_job_end_it(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = use(monkeypatch, FakeRay())
    other = write_model(tmp_path / "other", "unet")
    with monkeypatch.context() as patch:
        patch.setattr(on_ray, "load", lambda path, *words: load(other, *words))
        with pytest.raises(TranslationError, match="another model on a machine of the cluster"):
            run(model, source, tmp_path / "out", engine=Ray())
    with monkeypatch.context() as patch:

        def full(*_: Any) -> None:
            raise DiskFullError("x", "the disk is full")

        patch.setattr(sinks, "encode", full)
        with pytest.raises(TranslationError, match="stopped after 0 images: the disk is full"):
            run(model, source, tmp_path / "out", engine=Ray())
    fake.cluster_resources = lambda: {"GPU": 1.0}
    with pytest.raises(TranslationError, match="the cluster has no CPU"):
        run(model, source, tmp_path / "out", engine=Ray())


def test_command_names_the_extra_that_is_missing_and_what_has_no_effect(
    model: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["translate", model, source, tmp_path / "out"]
    status, _, err = here(*words, "--engine", "ray")
    assert (status, "pip install 'i2i[ray]'" in err) == (2, True)
    assert "--address goes with --engine ray" in here(*words, "--address", "x:1").err
    assert not (tmp_path / "out").exists()
    fake = use(monkeypatch, FakeRay())
    status, out, _ = here(*words, "--engine", "ray", "--address", "head:6379", "--device", "cpu")
    assert (status, out.split(",")[0], fake.addresses) == (1, "24 written", ["head:6379"])


# -- a local Ray -----------------------------------------------------------------------------------


def children(pid: int) -> dict[int, str]:
    """Return the processes below `pid`, with their command lines."""
    parents, names = dict[int, int](), dict[int, str]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text()
            names[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(text.rpartition(")")[2].split()[1])
    below = {pid}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return {child: names.get(child, "") for child in below - {pid}}


@pytest.mark.slow
def test_local_ray_writes_every_file_once_also_where_a_worker_is_killed(
    model: Path, source: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    run(model, source, tmp_path / "whole")
    killed: list[int] = []

    def kill(done: int, total: int) -> None:
        (tmp_path / "children").write_text(json.dumps(list(children(os.getpid()))))
        if done >= 4 and not killed:
            workers = [pid for pid, name in children(os.getpid()).items() if "ray::Worker" in name]
            killed.append(max(workers))
            os.kill(killed[-1], signal.SIGKILL)

    def job() -> None:
        os.environ.pop("RAY_ADDRESS", None)
        report = run(model, source, tmp_path / "out", kill, engine=Ray(workers=2))
        assert (report.written, len(report.failed), len(killed)) == (24, 1, 1)

    process = start(job)
    process.join()
    assert process.exitcode == 0
    assert outputs(tmp_path / "out") == outputs(tmp_path / "whole")
    assert written(tmp_path / "out") == written(tmp_path / "whole")
    pids = json.loads((tmp_path / "children").read_text())
    running = lambda: [pid for pid in pids if Path(f"/proc/{pid}").exists()]  # noqa: E731
    wait_for(lambda: not running(), 60, "the processes of Ray to end")
