"""Hash of all that decides the outputs of a translator, by which records recognize their jobs."""

import hashlib

from torch import nn


def fingerprint(settings: str, network: nn.Module) -> str:
    """Return the hash of settings, as text, and of the weights of a network."""
    digest = hashlib.blake2b(settings.encode(), digest_size=8)
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
