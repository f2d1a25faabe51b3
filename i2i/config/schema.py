"""JSON Schema of settings: the source of `i2i show`, docs/settings.md and completion in editors."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel


def section_schema(model: type[BaseModel], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of one section with these defaults; as in a file, no key is required.

    Its "$defs" belong to the root of the document. "resumable" marks what a resumed run may change.
    """
    schema = model.model_json_schema()
    schema.pop("required", None)
    schema.pop("title")
    for key, setting in schema["properties"].items():
        setting.pop("title", None)
        if "description" in setting:
            text = " ".join(setting["description"].split())
            setting["description"] = text.replace("None:", "null:")  # as YAML writes it
        if key in defaults:
            setting["default"] = defaults[key]
    return schema
