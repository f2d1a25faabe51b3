"""The README of a run folder, in the form that model hubs read."""

from collections.abc import Mapping

import yaml

from i2i import __version__
from i2i.config import Config, PairedData, UnconditionalData, height_width


def model_card(config: Config, channels: Mapping[str, int]) -> str:
    """Return a model card: what was trained, on what, and the command that uses it."""
    unconditional = isinstance(config.data, UnconditionalData)
    task = "unconditional-image-generation" if unconditional else "image-to-image"
    header = yaml.safe_dump(
        {"library_name": "i2i", "pipeline_tag": task, "tags": [config.method.name]}
    )
    height, width = height_width(config.data.crop_size)
    use = (
        "i2i generate THIS_FOLDER OUT" if unconditional else "i2i translate THIS_FOLDER IMAGES OUT"
    )
    if isinstance(config.data, PairedData) and len(config.data.inputs) > 1:
        use = f"i2i translate THIS_FOLDER OUT {' '.join(f'--input {name}' for name in config.data.inputs)}"
    return f"""---
{header}---
# {config.method.name}: {config.generator.name}

Trained with i2i {__version__} on `{config.data.root}` at {width} x {height} pixels, channels {dict(channels)},
for {config.train.total_images:,} images. Every setting is in `config.yaml` and inside the weights.

    {use}
"""
