"""Other trackers follow a run and its resumption, ask no network, and stop nothing when they fail."""

import os
import socket
import struct
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from commands import here, i2i
from runs import draw_scenes, rows, train_words

from i2i import trackers
from i2i.files import read_rows

ROOT = Path(__file__).resolve().parent.parent
MINE = """
class Mine:
    calls = []

    def start(self, folder, config):
        self.calls.append(("start", folder.name, config["train"]["batch"]))

    def log(self, images, metrics):
        self.calls.append(("log", images, metrics["G/l1"]))
        if images == 8:
            raise RuntimeError("the service is gone")

    def image(self, images, name, array):
        self.calls.append(("image", images, name, array.ndim))

    def finish(self, metrics):
        self.calls.append(("finish", metrics["epoch"]))
"""


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The calls of a tracker `mine` of another installed package, which fails after 8 images."""
    installed = tmp_path / "installed"
    description = installed / "tracker_of_mine-1.0.dist-info"
    description.mkdir(parents=True)
    (installed / "tracker_of_mine.py").write_text(MINE)
    (description / "METADATA").write_text("Name: tracker-of-mine\nVersion: 1.0\n")
    (description / "entry_points.txt").write_text(
        "[i2i.trackers]\nmine = tracker_of_mine:Mine\nbroken = tracker_of_mine:Missing\n"
    )
    monkeypatch.syspath_prepend(installed)
    monkeypatch.delitem(sys.modules, "tracker_of_mine", raising=False)
    return metadata.entry_points(group=trackers.GROUP)["mine"].load().calls  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wandbb", "there is no tracker 'wandbb'. Did you mean wandb? Choose from broken, mine, "),
        ("wandb", "wandb needs the package wandb, which is not installed. pip install wandb."),
        ("broken", "broken cannot be imported (AttributeError: "),
    ],
)
def test_tracker_that_cannot_be_used_is_refused_before_anything_is_written(
    name: str,
    message: str,
    scenes: dict[str, Path],
    tmp_path: Path,
    mine: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "i2i.trackers.wandb", raising=False)
    run = tmp_path / "run"
    done = here(*train_words("pix2pix", scenes, run, "--set", f'log.trackers=["{name}"]'))
    assert done.status == 2
    assert f"i2i: log.trackers: {message}" in done.err
    assert not run.exists()


def test_tracker_of_another_package_is_told_all_and_its_failure_stops_nothing(
    scenes: dict[str, Path], tmp_path: Path, mine: list[tuple[Any, ...]]
) -> None:
    run = tmp_path / "run"
    words = train_words("pix2pix", scenes, run, "--set", 'log.trackers=["mine"]', "--images")
    assert here(*words, 4).status == 0
    done = here(*words, 16, "--resume")
    assert done.status == 0
    assert done.err.count("mine: RuntimeError: the service is gone. Training continues") == 1
    logged = {row["images"]: row["G/l1"] for row in rows(run)}
    assert list(logged) == [4, 8, 12, 16]
    assert mine == [
        ("start", "run", 2),
        ("image", 0, "samples", 3),
        ("log", 4, logged[4]),
        ("image", 4, "samples", 3),
        ("finish", pytest.approx(4 / 12, abs=1e-4)),
        ("start", "run", 2),
        ("log", 8, logged[8]),
    ]
    told = [
        event["text"] for event in read_rows(run / "events.jsonl") if event["kind"] == "tracker"
    ]
    assert told == ["mine: RuntimeError: the service is gone. Training continues without it."]


def test_own_trackers_are_registered_as_those_of_other_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    registered = project["entry-points"][trackers.GROUP]
    assert registered == {entry.name: entry.value for entry in trackers._OWN}
    for name in registered:
        assert len((ROOT / f"i2i/trackers/{name}.py").read_text().splitlines()) <= 60


def wandb_records(path: Path) -> list[Any]:
    """Return the records of a file of wandb, which has the format of LevelDB's log."""
    from wandb.proto import wandb_internal_pb2

    data, position, parts, records = path.read_bytes(), 7, b"", []
    while position < len(data):
        if (room := -position % 32768) < 7:  # no header begins at the end of a block
            position += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            records.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return records


def check_wandb(run: Path) -> None:
    """Both parts of a resumed run have one identifier, and their rows are those of the run."""
    files = sorted((run / "trackers" / "wandb").glob("offline-run-*/*.wandb"))
    identifier = (run / "trackers" / "wandb.id").read_text().strip()
    assert [file.name for file in files] == [f"run-{identifier}.wandb"] * 2
    found, sheets = [], []
    for file in files:
        records = wandb_records(file)
        (begun,) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
        assert begun.run_id == identifier
        assert begun.display_name == "run"
        assert {item.key for item in begun.config.update} >= {"train", "optim", "data"}
        for record in records:
            items = {
                "/".join(item.nested_key) or item.key: item.value_json
                for item in record.history.item
            }
            if "G/l1" in items:
                found.append((int(items["images"]), float(items["G/l1"])))
            if "samples/path" in items:
                sheets.append(int(items["images"]))
        assert any(record.HasField("exit") for record in records)
    assert found == [(row["images"], row["G/l1"]) for row in rows(run)]
    assert sheets == [0, 4, 8]


def check_mlflow(run: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient((run / "trackers" / "mlruns").as_uri())
    (experiment,) = client.search_experiments(filter_string="name = 'i2i'")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_id == (run / "trackers" / "mlflow.id").read_text().strip()
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "run"
    assert found.data.params["train.batch"] == "2"
    history = client.get_metric_history(found.info.run_id, "G/l1")
    assert [(x.step, x.value) for x in history] == [
        (row["images"], row["G/l1"]) for row in rows(run)
    ]
    sheets = [file.path for file in client.list_artifacts(found.info.run_id, "samples")]
    assert sheets == [f"samples/{images:08d}.png" for images in (0, 4, 8)]


def test_wandb_and_mlflow_follow_a_run_and_its_resumption_without_a_network(
    scenes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    service = socket.create_server(("127.0.0.1", 0))
    service.setblocking(False)
    for name in os.environ.keys() & {"WANDB_MODE", "MLFLOW_TRACKING_URI"}:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{service.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")

    def refuse_names() -> None:
        def refuse(host: object, *_: object, **__: object) -> Any:
            (tmp_path / "asked").write_text(str(host))
            raise OSError(f"{host} was asked for")

        socket.getaddrinfo = refuse

    trackers.load(["wandb", "mlflow"])  # imported once for both processes
    words = train_words("pix2pix", scenes, run, "--set", 'log.trackers=["wandb","mlflow"]')
    words += ["--set", "optim.lr=0.001"]
    for more in (["--images", "4"], ["--images", "8", "--resume"]):
        done = i2i(tmp_path / "command", *words, *more, before=refuse_names)
        assert done.status == 0, done.err
    assert not [event for event in read_rows(run / "events.jsonl") if event["kind"] == "tracker"]
    assert not (tmp_path / "asked").exists()
    with pytest.raises(BlockingIOError):
        service.accept()  # nobody has called
    check_wandb(run)
    check_mlflow(run)
