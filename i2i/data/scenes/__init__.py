"""Procedurally drawn scenes: worlds without a download, in several styles each, from a seed. NumPy and Pillow only."""

from i2i.data.scenes.kinds import KINDS, Kind, draw
from i2i.data.scenes.write import Drawing, Written, plan, write_dataset

__all__ = ["KINDS", "Drawing", "Kind", "Written", "draw", "plan", "write_dataset"]
