"""Images from noise: seeds, walks and truncation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from i2i.execution import Execution
from i2i.networks.generators.dcgan import DCGAN
from i2i.networks.latent import LatentSpec
from i2i.translation import TranslationError
from i2i.translation.sampling import Sampler, slerp, walk, write_animation


@pytest.fixture
def sampler() -> Sampler:
    torch.manual_seed(0)
    network = DCGAN(5, 3, size=(28, 28), width=4).eval()
    return Sampler(network, LatentSpec(5), torch.device("cpu"), Execution())


def test_walk_begins_and_ends_at_the_images_of_its_seeds(sampler: Sampler) -> None:
    pictures = walk(sampler, 1, 2, 5)
    for seed, end in ((1, 0), (2, -1)):
        assert np.array_equal(pictures[end], sampler.pictures(sampler.latents(0, 1, seed))[0][0])
    with pytest.raises(TranslationError, match="at least 2"):
        walk(sampler, 1, 2, 1)


def test_great_circle_keeps_the_length_of_unit_vectors() -> None:
    torch.manual_seed(0)
    start, end = (torch.nn.functional.normalize(torch.randn(100), dim=0) for _ in range(2))
    for share in (0.0, 0.3, 1.0):
        assert slerp(start, end, share).norm().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(slerp(start, start, 0.5), start)


def test_truncated_latents_stay_inside_and_others_do_not(sampler: Sampler) -> None:
    assert sampler.latents(0, 200, 3, truncate=0.5).abs().max() <= 0.5
    assert sampler.latents(0, 200, 3).abs().max() > 2


def test_latent_is_a_function_of_seed_and_number_alone(sampler: Sampler) -> None:
    assert torch.equal(sampler.latents(3, 2, 7), sampler.latents(0, 5, 7)[3:])
    assert not torch.equal(sampler.latents(0, 1, 7), sampler.latents(0, 1, 8))


def test_animation_goes_there_and_back(tmp_path: Path) -> None:
    pictures = [np.full((16, 16, 3), 60 * step, np.uint8) for step in range(4)]
    write_animation(pictures, tmp_path / "walk.webp")
    with Image.open(tmp_path / "walk.webp") as animation:
        assert getattr(animation, "n_frames", 1) == 6


def test_recalibrated_generator_normalizes_by_its_own_activations(sampler: Sampler) -> None:
    from i2i.networks.latent import LatentSpec, recalibrate_batchnorm

    net = sampler.network
    for buffer in net.buffers():
        if buffer.is_floating_point():
            buffer.mul_(9)  # statistics of another network
    state, before = (
        torch.get_rng_state(),
        {name: value.clone() for name, value in net.state_dict().items()},
    )
    twin = recalibrate_batchnorm(net, LatentSpec(5))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    latents = sampler.latents(0, 256, 1)
    with torch.no_grad():
        own, theirs, wanted = twin(latents), net(latents), net.train()(latents)
    assert (own - wanted).abs().mean() < 0.2 * (theirs - wanted).abs().mean()
