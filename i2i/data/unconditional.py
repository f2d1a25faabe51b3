"""Data sets without domains, for generators from noise."""

from i2i.config import UnconditionalData
from i2i.data.augment import Augment
from i2i.data.dataset import Dataset
from i2i.data.folders import list_split
from i2i.data.selection import HeldOut


class UnconditionalImages(Dataset):
    """Images of one folder and its subfolders, as domain `image`, without those of other splits.

    Raises:
        DataError: the data cannot be trained on.
    """

    def __init__(
        self,
        config: UnconditionalData,
        *,
        seed: int = 0,
        split: str = "train",
        part: HeldOut | None = None,
    ) -> None:
        super().__init__(config, seed, part)
        (listing,) = list_split(config.root, split, "unconditional", axis=config.slice_axis)
        self._admit("image", self._inspect(listing))
        self.augments = [Augment(config, ("image",), color=("image",))]
        self.epoch_rule = self._rule("every image once", f"{self.count} images")
