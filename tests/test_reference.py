"""Numbers of the reference toolkit: every case of the golden index, without code for any one of them."""

import json
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from i2i.compat.junyanz import convert, guess
from i2i.direction import Direction
from i2i.execution import Execution

GOLDEN = Path(os.environ.get("I2I_GOLDEN", "no-reference-vectors"))
INDEX: dict[str, dict[str, Any]] = (
    json.loads((GOLDEN / "index.json").read_text()) if (GOLDEN / "index.json").exists() else {}
)

# The reference's name of a loss -> our terms and the factor between them (our terms are weighted).
LOSSES = {
    "Pix2PixModel": {
        "G_GAN": (1, ["G/gan"]),
        "G_L1": (1, ["G/l1"]),
        "D_real": (2, ["D/real"]),
        "D_fake": (2, ["D/fake"]),
    },
    "CycleGANModel": {  # its G_A and D_A are judged in domain b
        "G_A": (1, ["G/gan_b"]),
        "G_B": (1, ["G/gan_a"]),
        "cycle_A": (1, ["G/cycle_a"]),
        "cycle_B": (1, ["G/cycle_b"]),
        "idt_A": (1, ["G/identity_b"]),
        "idt_B": (1, ["G/identity_a"]),
        "D_A": (1, ["D/real_b", "D/fake_b"]),
        "D_B": (1, ["D/real_a", "D/fake_a"]),
    },
}
NETWORKS = {
    "Pix2PixModel": {"G": "G", "D": "D"},
    "CycleGANModel": {"G_A": "G_ab", "G_B": "G_ba", "D_A": "D_b", "D_B": "D_a"},
}
METHODS = {"Pix2PixModel": "pix2pix", "CycleGANModel": "cyclegan"}
OBJECTIVES = {"wgangp": "wgan-gp"}


def cases(*kinds: str) -> list[Any]:
    names = [name for name, case in INDEX.items() if case["kind"] in kinds]
    reason = "I2I_GOLDEN does not name a folder with reference vectors"
    return names or [pytest.param("none", marks=pytest.mark.skip(reason=reason))]


def weights(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }


def built(state: dict[str, torch.Tensor], dropout: bool = True) -> torch.nn.Module:
    architecture = guess(state)
    if "dropout" in architecture.options and not dropout:  # a U-Net's file does not tell
        architecture.options["dropout"] = False
    net = architecture.build()
    net.load_state_dict(convert(state, architecture))
    return net


@pytest.mark.parametrize("name", cases("generator", "discriminator"))
def test_forward_pass_gives_the_reference_output(name: str) -> None:
    case, tensors = INDEX[name], load_file(GOLDEN / f"{name}.safetensors")
    net = built(weights(tensors, "weights."))
    net.train(case["mode"] == "train")
    with torch.no_grad():
        output = net(tensors["input"])
    assert (output - tensors["output"]).abs().max() < 1e-4


@pytest.mark.parametrize("name", cases("training"))
def test_training_steps_give_the_reference_losses(name: str) -> None:
    from i2i.config import OptimConfig, TrainConfig
    from i2i.training.trainer import Trainer

    case, tensors = INDEX[name], load_file(GOLDEN / f"{name}.safetensors")
    options, model = case["options"], case["method"]
    method = reference_method(model, options, tensors)
    optim = OptimConfig(lr=options["lr"], betas=(options["beta1"], 0.999), lr_decay_start=1.0)
    trainer = Trainer(
        method, TrainConfig(total_images=10**9), optim, torch.device("cpu"), Execution()
    )
    a, b = ("B", "A") if options["direction"] == "BtoA" else ("A", "B")
    for step, losses in enumerate(case["losses"]):
        trainer.step([{"a": tensors[a][step], "b": tensors[b][step]}])
        terms = trainer.pop_metrics()
        for loss, expected in losses.items():
            factor, ours = LOSSES[model][loss]
            assert factor * sum(terms[term] for term in ours if term in terms) == pytest.approx(
                expected, rel=1e-4
            ), loss
    for theirs, mine in NETWORKS[model].items():
        after = built(weights(tensors, f"after.{theirs}."), not options["no_dropout"])
        part = getattr(method, mine)
        net = getattr(part, "net", part)
        probe = torch.rand(2, *probe_shape(net), generator=torch.Generator().manual_seed(0)) * 2 - 1
        with torch.no_grad():
            assert (net.train()(probe) - after.train()(probe)).abs().max() < 1e-3, theirs


def reference_method(model: str, options: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    """Our method with the reference's weights and options."""
    from i2i import registry
    from i2i.methods._adversarial import AdversarialLoss

    dropout = not options["no_dropout"]
    nets = {
        m: built(weights(tensors, f"before.{theirs}."), dropout)
        for theirs, m in NETWORKS[model].items()
    }
    objective = OBJECTIVES.get(options["gan_mode"], options["gan_mode"])
    method = registry.find("methods", METHODS[model]).factory
    generators = iter([net for name, net in nets.items() if name.startswith("G")])
    by_channels = iter([nets[name] for name in ("D", "D_a", "D_b") if name in nets])
    parts: dict[str, Any] = {
        "make_generator": lambda *_: next(generators),
        "make_discriminator": lambda *_: AdversarialLoss(next(by_channels), objective=objective),
        "channels": {"a": options["input_nc"], "b": options["output_nc"]},
    }
    if model == "Pix2PixModel":
        return method(**parts, direction=Direction.A2B, lambda_l1=options["lambda_L1"])
    return method(
        **parts,
        lambda_a=options["lambda_A"],
        lambda_b=options["lambda_B"],
        lambda_identity=options["lambda_identity"],
        history=options["pool_size"],
    )


def probe_shape(net: torch.nn.Module) -> tuple[int, int, int]:
    first = next(parameter for parameter in net.parameters() if parameter.ndim == 4)
    side = max(64, int(getattr(net, "size_divisor", 1)))
    return first.shape[1], side, side


def inputs(folder: Path) -> list[Path]:
    return sorted((folder / "input").iterdir())


@pytest.mark.parametrize("name", cases("translate"))
def test_imported_checkpoint_translates_as_the_reference_does(name: str, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from i2i.cli import group

    case, folder, run = INDEX[name], GOLDEN / name, CliRunner()
    model, out = tmp_path / "model", tmp_path / "out"
    arguments = ["import", str(folder / "checkpoint" / case["checkpoint"]), "--out", str(model)]
    if case["norm"] == "batch":
        arguments += ["--statistics", "running" if "--eval" in case["reference"] else "image"]
    done = run.invoke(group, arguments)
    assert done.exit_code == 0, done.output
    sizes = (
        case["size"]
        if isinstance(case["size"], dict)
        else {path.name: case["size"] for path in inputs(folder)}
    )
    for path in inputs(folder):
        size = sizes[path.name]
        arguments = [
            "translate",
            str(model),
            str(path),
            str(out / f"{path.stem}.png"),
            "--format",
            "png",
        ]
        arguments += ["--half", case["input_half"]] if case.get("paired_input") else []
        arguments += ["--size", size if isinstance(size, str) else "{}x{}".format(*size)]
        done = run.invoke(group, arguments)
        assert done.exit_code == 0, done.output
    expected = sorted((folder / "expected").glob("*.png"))
    assert expected, shlex.join(arguments)
    for path in expected:
        want, got = (
            np.asarray(Image.open(path)).astype(int),
            np.asarray(Image.open(out / path.name)).astype(int),
        )
        assert got.shape == want.shape
        difference = np.abs(got - want)
        if "max_levels" in case:
            assert difference.max() <= case["max_levels"], path.name
        if "mean_levels" in case:
            assert difference.mean() <= case["mean_levels"], path.name
