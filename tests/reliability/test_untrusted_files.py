"""Twenty files that would run code when unpickled, wherever weights or settings are taken from a file: none runs."""

import collections
import functools
import io
import json
import os
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from processes import start
from runs import command, draw_scenes, train_words
from torch import nn

from i2i import checkpoint
from i2i.checkpoint import CHECKPOINTS, MANIFEST, STATE
from i2i.cli import group


class Runs:
    """Calls `function(*arguments)` when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


class Net(nn.Module):
    def __init__(self, payload: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.payload = payload


def system(marker: Path) -> Runs:
    return Runs(os.system, f"touch {marker}")


def executes(marker: Path) -> Runs:
    return Runs(exec, f"open({str(marker)!r}, 'w')")


def pickled(value: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol)


def saved(value: Any, zipped: bool = True) -> bytes:
    memory = io.BytesIO()
    torch.save(value, memory, _use_new_zipfile_serialization=zipped)
    return memory.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    """The format of torch before 0.1.10."""
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return memory.getvalue()


def scripted(marker: Path) -> bytes:
    memory = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), memory)  # type: ignore[no-untyped-call]
    with zipfile.ZipFile(memory) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return zipped(
        {n: pickled(system(marker)) if n.endswith("data.pkl") else c for n, c in files.items()}
    )


def objects(marker: Path) -> bytes:
    memory = io.BytesIO()
    np.save(memory, np.array([system(marker)], dtype=object), allow_pickle=True)
    return memory.getvalue()


def named_arrays(marker: Path) -> bytes:
    memory = io.BytesIO()
    np.savez(memory, weight=np.array([system(marker)], dtype=object))
    return memory.getvalue()


STATE_DICT = "model.1.weight"
FILES: dict[str, Callable[[Path], bytes]] = {
    "pickle, protocol 0": lambda marker: pickled(system(marker), 0),
    "pickle, protocol 2": lambda marker: pickled(system(marker), 2),
    "pickle, protocol 5": lambda marker: pickled(system(marker), 5),
    "pickle by hand": lambda marker: f"cos\nsystem\n(S'touch {marker}'\ntR.".encode(),
    "pickle of a state dict": lambda marker: pickled({STATE_DICT: system(marker)}),
    "torch.save of an object": lambda marker: saved(system(marker)),
    "torch.save of exec": lambda marker: saved(executes(marker)),
    "torch.save next to a tensor": lambda marker: saved(
        {STATE_DICT: torch.ones(1), "note": system(marker)}
    ),
    "torch.save as a key": lambda marker: saved({(system(marker), 1): torch.ones(1)}),
    "torch.save deep inside": lambda marker: saved(
        {"optimizers": {"G": {"state": {0: [(system(marker),)]}}}}
    ),
    "torch.save of a module": lambda marker: saved(Net(system(marker))),
    "torch.save of an ordered dict": lambda marker: saved(
        collections.OrderedDict(a=system(marker))
    ),
    "torch.save of a partial": lambda marker: saved(
        Runs(functools.partial(os.system, f"touch {marker}"))
    ),
    "torch.save of an attribute": lambda marker: saved(
        Runs(getattr, Runs(__import__, "os"), "system", state={"note": system(marker)})
    ),
    "torch.save, old format": lambda marker: saved({STATE_DICT: system(marker)}, zipped=False),
    "zip with a pickle": lambda marker: zipped(
        {"archive/data.pkl": pickled(system(marker)), "archive/version": b"3\n"}
    ),
    "tar with pickles": lambda marker: tarred(
        {name: pickled(system(marker)) for name in ("sys_info", "pickle", "tensors", "storages")}
    ),
    "TorchScript": scripted,
    "npy of objects": objects,
    "npz of objects": named_arrays,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("victim")
    words = train_words("pix2pix", draw_scenes(root, 10), root / "run", "--images", "2")
    process = start(command, words, root / "log")
    process.join(120)
    assert process.exitcode == 0, (root / "log").read_text()
    return root / "run"


def refused(*words: object) -> bool:
    """Return True if `i2i` ends with a message of its own instead of doing what is asked."""
    result = CliRunner().invoke(group, [str(word) for word in words], standalone_mode=False)
    error = result.exception
    return error is not None and type(error).__module__.startswith(("i2i.", "click."))


@pytest.mark.parametrize("name", FILES)
def test_malicious_file_is_refused_everywhere_and_never_runs(
    name: str, run: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "executed"
    content = FILES[name](marker)
    photo = next((run.parent / "facades" / "train" / "a").iterdir())
    for file in ("model.pth", "model.pt", "weights.safetensors", "latest_net_G.pth", "model.npy"):
        (tmp_path / file).write_bytes(content)
    out = tmp_path / "out"
    assert refused("translate", tmp_path / "model.pth", photo, out)
    assert refused("translate", tmp_path / "weights.safetensors", photo, out)
    assert refused("translate", tmp_path, photo, out)
    assert refused("generate", tmp_path / "weights.safetensors", out)
    assert refused("evaluate", tmp_path / "weights.safetensors", run.parent / "facades")
    assert refused("show", tmp_path / "weights.safetensors")
    assert refused("import", tmp_path / "latest_net_G.pth", "--out", out)
    assert refused("import", tmp_path, "--out", out)
    victim = tmp_path / "run"
    shutil.copytree(run, victim)
    for _, path in checkpoint.steps(
        victim / CHECKPOINTS
    ):  # who can replace a state can hash it again
        (path / STATE).write_bytes(content)
        manifest = json.loads((path / MANIFEST).read_bytes())
        manifest["sha256"][STATE] = checkpoint.sha256(path / STATE)
        manifest.pop("checksum")
        (path / MANIFEST).write_bytes(checkpoint._with_checksum(manifest))
        checkpoint.verify(path)
    assert refused("train", "pix2pix", "--resume", victim, "--images", 4, "--device", "cpu")
    assert not marker.exists()


@pytest.mark.parametrize(
    "tag", ["python/object/apply:os.system", "python/object/new:os.system", "python/name:os.system"]
)
def test_settings_that_would_run_code_are_refused(tag: str, run: Path, tmp_path: Path) -> None:
    marker, victim = tmp_path / "executed", tmp_path / "run"
    shutil.copytree(run, victim)
    text = f"train: !!{tag} ['touch {marker}']\n"
    (victim / "config.yaml").write_text(text)
    (tmp_path / "recipe.yaml").write_text(text)
    assert refused("train", "pix2pix", "--resume", victim)
    assert refused(
        "train",
        "pix2pix",
        "--data",
        run,
        "--config",
        tmp_path / "recipe.yaml",
        "--out",
        tmp_path / "new",
    )
    assert not marker.exists()


def unzipped(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        return pickle.loads(
            archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
        )


def test_files_of_this_test_do_run_where_pickles_are_trusted(tmp_path: Path) -> None:
    for number, make in enumerate(FILES.values()):
        marker = tmp_path / str(number)
        (tmp_path / "file").write_bytes(make(marker))
        for load in (
            lambda path: torch.load(path, weights_only=False),
            lambda path: pickle.loads(path.read_bytes()),
            lambda path: np.load(path, allow_pickle=True),
            lambda path: np.load(path, allow_pickle=True)["weight"],
            unzipped,
        ):
            try:
                load(tmp_path / "file")
            except Exception:
                continue
    executed = {int(path.name) for path in tmp_path.iterdir() if path.name != "file"}
    assert executed == set(range(len(FILES)))
