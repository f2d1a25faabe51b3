"""README of a run folder, in the form that model hubs read."""

from collections.abc import Mapping

import yaml

from i2i import __version__
from i2i.config import Config, PairedData, UnconditionalData, height_width


def model_card(config: Config, channels: Mapping[str, int]) -> str:
    """Return a model card: method, data, training, and the command that uses the model."""
    task, command = "image-to-image", "i2i translate THIS_FOLDER IMAGES OUT"
    if isinstance(config.data, UnconditionalData):
        task, command = "unconditional-image-generation", "i2i generate THIS_FOLDER OUT"
    if isinstance(config.data, PairedData) and len(config.data.inputs) > 1:
        inputs = " ".join(f"--input {name}" for name in config.data.inputs)
        command = f"i2i translate THIS_FOLDER OUT {inputs}"
    header = yaml.safe_dump(
        {"library_name": "i2i", "pipeline_tag": task, "tags": [config.method.name]}
    )
    height, width = height_width(config.data.crop_size)
    return f"""---
{header}---
# {config.method.name}: {config.generator.name}

Trained with i2i {__version__} on `{config.data.root}` at {width} x {height} pixels,
channels {dict(channels)}, for {config.train.total_images:,} images.
Every setting is in `config.yaml` and inside the weights.

    {command}
"""
