"""Inception v3 as FID is defined by: the network of 2015 of TensorFlow. Heusel et al., 2017.

Szegedy et al., CVPR 2016, with pooling as in TensorFlow's graph: averages do not count the padding,
and the last block takes the maximum. Names of weights are those of the usual PyTorch port.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, max_pool2d

from i2i.evaluation.features.network import FeatureNetwork

Kernel = int | tuple[int, int]
Branch = Sequence[tuple[str, int, Kernel]]  # name, channels, kernel of each convolution
_POOLED = "branch_pool"


class Conv(nn.Module):
    """Convolution, norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Kernel, stride: int, padded: bool
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if padded else 0
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H', W']."""
        output: Tensor = self.bn(self.conv(x)).relu_()
        return output


class Mixed(nn.Module):
    """Branches of convolutions and one of pooling, concatenated.

    Args:
        inputs: channels.
        branches: convolutions in order; those whose names end in a and b share their input.
        pool: "average" or "max", of 3 x 3 pixels.
        pooled: channels of the convolution after pooling.
        stride: 2: halves the sides, in the last convolution of a branch and the pooling, both not
            padded; `pooled` does not count.
    """

    def __init__(
        self, inputs: int, branches: Sequence[Branch], pool: str, pooled: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.pool, self.stride = pool, stride
        self.chains = [[name for name, _, _ in branch] for branch in branches]
        self.outputs = pooled if stride == 1 else inputs
        for branch in branches:
            width = before = inputs
            for name, channels, kernel in branch:
                halves = stride == 2 and name == branch[-1][0]
                fork = name.endswith("b")
                source = before if fork else width
                self.add_module(name, Conv(source, channels, kernel, 1 + halves, not halves))
                before, width = source, channels + (width if fork else 0)
            self.outputs += width
        if stride == 1:
            self.add_module(_POOLED, Conv(inputs, pooled, 1, 1, True))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H / stride, W / stride]."""
        outputs = []
        for chain in self.chains:
            y = before = x
            for name in chain:
                conv = self.get_submodule(name)
                if name.endswith("b"):
                    y = torch.cat([y, conv(before)], 1)
                else:
                    before, y = y, conv(y)
            outputs.append(y)
        return torch.cat([*outputs, self._pooled(x)], 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            return max_pool2d(x, 3, 2)
        if self.pool == "max":
            y = max_pool2d(x, 3, 1, 1)
        else:
            y = avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        output: Tensor = self.get_submodule(_POOLED)(y)
        return output


def _block_a(inputs: int, pooled: int) -> Mixed:
    branches: list[Branch] = [
        [("branch1x1", 64, 1)],
        [("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
    ]
    return Mixed(inputs, branches, "average", pooled)


def _block_b(inputs: int) -> Mixed:
    branches: list[Branch] = [
        [("branch3x3", 384, 3)],
        [("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)],
    ]
    return Mixed(inputs, branches, "max", 0, stride=2)


def _block_c(inputs: int, width: int) -> Mixed:
    rows, columns = (1, 7), (7, 1)
    branches: list[Branch] = [
        [("branch1x1", 192, 1)],
        [("branch7x7_1", width, 1), ("branch7x7_2", width, rows), ("branch7x7_3", 192, columns)],
        [
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, columns),
            ("branch7x7dbl_3", width, rows),
            ("branch7x7dbl_4", width, columns),
            ("branch7x7dbl_5", 192, rows),
        ],
    ]
    return Mixed(inputs, branches, "average", 192)


def _block_d(inputs: int) -> Mixed:
    branches: list[Branch] = [
        [("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)],
        [
            ("branch7x7x3_1", 192, 1),
            ("branch7x7x3_2", 192, (1, 7)),
            ("branch7x7x3_3", 192, (7, 1)),
            ("branch7x7x3_4", 192, 3),
        ],
    ]
    return Mixed(inputs, branches, "max", 0, stride=2)


def _block_e(inputs: int, pool: str) -> Mixed:
    rows, columns = (1, 3), (3, 1)
    branches: list[Branch] = [
        [("branch1x1", 320, 1)],
        [("branch3x3_1", 384, 1), ("branch3x3_2a", 384, rows), ("branch3x3_2b", 384, columns)],
        [
            ("branch3x3dbl_1", 448, 1),
            ("branch3x3dbl_2", 384, 3),
            ("branch3x3dbl_3a", 384, rows),
            ("branch3x3dbl_3b", 384, columns),
        ],
    ]
    return Mixed(inputs, branches, pool, 192)


class Inception(FeatureNetwork):
    """Features of the last pooling, [N, 2048]."""

    title = "Inception v3 of 2015 (TensorFlow), last pooling"
    side = 299
    digest = "6726825d"  # also in the name of the file
    source = (
        "Get https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth and pass it as --inception-weights"
    )

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, 2, padded=False)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, 1, padded=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, 1, padded=True)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1, 1, padded=False)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, 1, padded=False)
        self.Mixed_5b = _block_a(192, 32)
        self.Mixed_5c = _block_a(256, 64)
        self.Mixed_5d = _block_a(288, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(768, 128)
        self.Mixed_6c = _block_c(768, 160)
        self.Mixed_6d = _block_c(768, 160)
        self.Mixed_6e = _block_c(768, 192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b = _block_e(1280, "average")
        self.Mixed_7c = _block_e(2048, "max")

    def forward(self, pixels: Tensor) -> Tensor:
        """[N, 3, 299, 299] in [0, 255] -> features [N, 2048]."""
        x = self.Conv2d_1a_3x3((pixels - 128) / 128)  # [N, 32, 149, 149]
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(x))  # [N, 64, 147, 147]
        x = self.Conv2d_3b_1x1(max_pool2d(x, 3, 2))  # [N, 80, 73, 73]
        x = max_pool2d(self.Conv2d_4a_3x3(x), 3, 2)  # [N, 192, 35, 35]
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # [N, 288, 35, 35]
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))  # [N, 768, 17, 17]
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))  # [N, 1280, 8, 8]
        features: Tensor = self.Mixed_7c(self.Mixed_7b(x)).mean((2, 3))
        return features

    @staticmethod
    def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of the file without those of the classifier."""
        return {name: weight for name, weight in state.items() if not name.startswith("fc.")}
