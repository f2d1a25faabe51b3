"""EfficientNet-Lite0 as a feature network: ImageNet weights from a package, no download."""

from pathlib import Path

from i2i.evaluation.features.network import FeatureNetwork
from i2i.networks.effnet import LITE0, EfficientNetLite


def weights_file() -> Path | None:
    """Return the file with the weights inside the installed package, None without it."""
    return LITE0.weights_file()


class EfficientNetLite0(EfficientNetLite, FeatureNetwork):
    """Pooled features before the classifier, and its logits."""

    title = "EfficientNet-Lite0 (ImageNet), last pooling"
    side = 224
    digest = LITE0.digest
    source = LITE0.source

    def __init__(self) -> None:
        super().__init__(LITE0)
