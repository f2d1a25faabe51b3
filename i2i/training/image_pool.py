"""Pool of old fakes for D. Shrivastava et al., CVPR 2017, Sec. 2.3; as in CycleGAN, Sec. 4."""

from collections.abc import Iterable

import torch
from torch import Tensor


class ImagePool:
    """Up to `size` fakes on their device; once full, half of a batch comes back as older ones."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def query(self, fakes: Tensor) -> Tensor:
        """Return `fakes`, [N, C, H, W], each exchanged for a stored image with probability 1/2."""
        if self.size == 0:
            return fakes
        if self.images and self.images[0].shape != fakes.shape[1:]:  # of a run before its new crop
            self.images.clear()
        returned = []
        for fake in fakes.detach():
            if len(self.images) < self.size:
                self.images.append(fake.clone())
                returned.append(fake)
            elif torch.rand(()) < 0.5:  # the CPU's random state: it is in every checkpoint
                index = int(torch.randint(self.size, ()))
                returned.append(self.images[index])
                self.images[index] = fake.clone()
            else:
                returned.append(fake)
        return torch.stack(returned)

    def state(self) -> list[Tensor]:
        """Return the stored images."""
        return list(self.images)

    def restore(self, images: Iterable[Tensor], device: torch.device) -> None:
        """Load what `state` returned."""
        self.images = [image.to(device) for image in images]
