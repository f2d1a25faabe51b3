"""One method a file: the file's name is its name in configs and on the command line."""

from i2i.methods._adversarial import AdversarialLoss, MakeDiscriminator
from i2i.methods._base import Images, MakeGenerator, Method, Phase, Terms

__all__ = [
    "AdversarialLoss",
    "Images",
    "MakeDiscriminator",
    "MakeGenerator",
    "Method",
    "Phase",
    "Terms",
]
