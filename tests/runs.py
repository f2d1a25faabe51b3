"""Small runs, as arguments of the command line; trained in this process or in one that may be killed."""

import functools
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from commands import here
from processes import hear_signals, start

from i2i.checkpoint import load_state, newest
from i2i.cli import main
from i2i.methods._adversarial import AdversarialLoss
from i2i.options import option_fields
from i2i.run.settings import has_discriminator
from i2i.scenes import write_dataset

SMALL: dict[str, tuple[str, list[str]]] = {  # method -> kind of scenes, settings
    "pix2pix": ("facades", ["generator.name=unet", "generator.depth=5", "generator.width=4"]),
    "regress": (
        "facades",
        [
            *("generator.name=unet", "generator.depth=5", "generator.width=4"),
            *("method.lambda_focal_frequency=1", "method.lambda_gradient=10"),
        ],
    ),
    "cyclegan": (
        "orchard",
        ["generator.name=resnet", "generator.blocks=1", "generator.width=4", "method.history=3"],
    ),
    "cut": (
        "orchard",
        ["generator.name=resnet", "generator.blocks=1", "generator.width=4", "method.patches=16"],
    ),
    "dcgan": (
        "portraits",
        ["generator.width=4", "method.latent=5", "method.augment=ada", "method.augment_images=100"],
    ),
}
KINDS = ("facades", "orchard", "portraits")
COMMON = [
    "data.load_size=36",
    "data.crop_size=32",
    "discriminator.width=4",
    "train.batch=2",
    "data.workers=0",
]
COMMON += [
    "log.samples=2",
    "log.every_images=4",
    "log.tensorboard=false",
    "train.checkpoint_every_images=1000",
]


def draw_scenes(root: Path, count: int = 15) -> dict[str, Path]:
    """Draw every kind of scene; of 15, 12 are for training."""
    warm_up()
    return _drawn(root, count)


@functools.cache
def warm_up() -> None:
    """Train every method and translate in this process: what is prepared once takes each forked process half of its time."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng():
        scenes = _drawn(Path(folder), 6)
        for method in SMALL:
            ended = here(*train_words(method, scenes, Path(folder) / method, "--images", 2))
            assert ended.status == 0, ended.err
        ended = here("translate", Path(folder) / "pix2pix", scenes["facades"], Path(folder) / "out")
        assert ended.status == 0, ended.err


def _drawn(root: Path, count: int) -> dict[str, Path]:
    shutil.copytree(_drawing(count).name, root, dirs_exist_ok=True)
    return {kind: root / kind for kind in KINDS}


@functools.cache
def _drawing(count: int) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    for kind in KINDS:
        write_dataset(kind, Path(folder.name) / kind, count, 32, seed=1)
    return folder


def fitting(method: str, texts: Iterable[str]) -> list[str]:
    """Return `texts` without settings of a discriminator if `method` trains none."""
    if has_discriminator(method):
        return list(texts)
    tools = {f"method.{option}" for option in option_fields(AdversarialLoss)}
    tools |= {"optim.lr_discriminator"}
    keys = {text: text.partition("=")[0] for text in texts}
    return [t for t, key in keys.items() if key not in tools and "discriminator." not in key]


def train_words(method: str, scenes: dict[str, Path], out: Path, *more: object) -> list[str]:
    """Return the arguments of `i2i` that train a small `method` into `out`."""
    kind, overrides = SMALL[method]
    shallow = [] if method == "dcgan" else ["discriminator.layers=1"]
    texts = fitting(method, (*COMMON, *shallow, *overrides))
    sets = [word for text in texts for word in ("--set", text)]
    words = ["train", method, "--data", scenes[kind], "--out", out, "--device", "cpu", *sets, *more]
    return [str(word) for word in words]


def command(words: list[str], log: Path, prepare: Callable[[], None] | None = None) -> None:
    """Run `i2i` as the program of this (forked) process: what it prints goes to `log`, its status becomes the exit."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    torch.set_num_threads(1)
    hear_signals()
    if prepare:
        prepare()
    sys.argv = ["i2i", *words]
    main()


def ranked(index: int, world: int, port: int) -> None:
    """Make this process one of a group, as torchrun would."""
    os.environ |= {"RANK": str(index), "LOCAL_RANK": str(index), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def rows(run: Path, name: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """Return the logged rows of a run, without what depends on the clock."""
    lines = [json.loads(line) for line in (run / name).read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if k not in ("images_per_second", "data_wait")}
        for row in lines
    ]


def final_state(run: Path) -> dict[str, Any]:
    """Return the state in the newest checkpoint of a run."""
    return load_state(newest(run / "checkpoints")[0])


def free_port() -> int:
    """Return a TCP port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_ranks(
    world: int, words: list[str], log: Path, prepare: Callable[[int], None] | None = None
) -> list[BaseProcess]:
    """Start `i2i` as `world` processes that train together; each runs `prepare` with its number first."""
    port = free_port()

    def begin(index: int) -> None:
        if world > 1:
            ranked(index, world, port)
        if prepare:
            prepare(index)

    return [start(command, words, log, functools.partial(begin, index)) for index in range(world)]


def finish(processes: list[BaseProcess], seconds: float = 120) -> list[int | None]:
    """Wait for processes and return their exit codes; what has not ended by then is killed, and its code is None."""
    codes = []
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0, end - time.monotonic()))
        codes.append(process.exitcode)
        process.kill()
    return codes
