"""A pool of old fakes for the discriminator. Shrivastava et al., CVPR 2017, Sec. 2.3; as in CycleGAN, Sec. 4."""

from typing import Any

import torch
from torch import Tensor


class ImagePool:
    """Keeps up to `size` fakes on their device; once full, half of what goes in comes back as an older one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images: list[Tensor] = []

    def query(self, fakes: Tensor) -> Tensor:
        """Return a batch like `fakes`, [N, C, H, W]: each image with probability 1/2 exchanged for a stored one."""
        if self.size == 0:
            return fakes
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

    def restore(self, images: list[Any], device: torch.device) -> None:
        """Take back what `state` returned."""
        self.images = [image.to(device) for image in images]
