"""Libraries of formats that few people have: extras, imported when such a file is met."""

import importlib
from types import ModuleType

from i2i.images.formats import ImageError


def require(module: str, extra: str, what: str) -> ModuleType:
    """Return an imported module.

    Raises:
        ImageError: it is not installed; the reason names `what` needs it, the hint the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = f"{what} needs {module.partition('.')[0]} ({error})"
        raise ImageError("image", reason, f"Run: pip install 'i2i[{extra}]'") from None
