"""Pretrained networks from their files, checked by hash."""

from collections.abc import Iterable

import torch

from i2i.evaluation.features import (
    NETWORKS,
    FeatureError,
    FeatureWeights,
    networks_of,
    weights_file,
)
from i2i.evaluation.features.lpips import Lpips
from i2i.evaluation.features.network import FeatureNetwork, Features, Pretrained
from i2i.evaluation.metric import Network
from i2i.files import sha256


def load_networks(
    metrics: Iterable[str], weights: FeatureWeights, device: torch.device | str = "cpu"
) -> dict[str, Features]:
    """Return the networks that metrics of sets need, by name, on `device`.

    Raises:
        FeatureError: an extra or a file is missing, or a file holds other weights.
    """
    networks: dict[str, Features] = {}
    for name in networks_of(metrics):
        network = _loaded(name, weights)
        assert isinstance(network, FeatureNetwork)
        networks[name] = Features(network, device)
    return networks


def load_lpips(weights: FeatureWeights, device: torch.device | str = "cpu") -> Lpips:
    """Return LPIPS on `device`.

    Raises:
        FeatureError: there is no file, or it holds other weights.
    """
    return Lpips(_loaded("alexnet", weights), device)


def _loaded(name: Network, weights: FeatureWeights) -> Pretrained:
    path, network = weights_file(name, weights), NETWORKS[name]()
    digest = sha256(path)
    if not digest.startswith(network.digest):
        reason = f"its sha256 begins with {digest[:8]}, not with {network.digest[:8]}"
        raise FeatureError(path, reason, network.source)
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(network.renamed(state))
    return network
