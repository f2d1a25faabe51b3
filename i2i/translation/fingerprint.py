"""Hash of all that decides the outputs of a translator, by which records recognize their jobs."""

import hashlib

from torch import nn

from i2i.images.spec import ImageSpec


def fingerprint(settings: str, network: nn.Module) -> str:
    """Return the hash of settings, as text, and of the weights of a network."""
    digest = hashlib.blake2b(settings.encode(), digest_size=8)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def spec_text(spec: ImageSpec) -> str:
    """Return a spec in the form that fingerprints have hashed since format 2."""
    inputs = [
        {"channels": one.channels, "alpha": one.alpha, "name": one.name} for one in spec.inputs
    ]
    text = str({"inputs": inputs, "range": list(spec.value_range)})
    later = (spec.depth, spec.ranged_integers, spec.mask)
    text += "" if later == (None, False, False) else f" {later}"
    text += " clips" if spec.clips else ""
    text += f" {spec.classes} classes" if spec.classes else ""
    return f"{text} {spec.sample}" if spec.sample else text
