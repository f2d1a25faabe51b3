"""Options of components: meaning and range next to the default, checked by the constructor."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, get_origin, get_type_hints

from pydantic import Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from i2i.errors import OptionError, printable

P = ParamSpec("P")
Count = Annotated[int, Field(ge=1, strict=True)]
Few = Annotated[int, Field(ge=1, le=100, strict=True)]  # of what is built one by one
Weight = Annotated[float, Field(ge=0)]


def Doc(text: str, resumable: bool = False) -> Any:  # noqa: N802  # in annotations, like Field
    """Return the description of an option, for `Annotated[TYPE, Doc("…")]`.

    Args:
        text: a noun phrase with the unit, and what None means where it is the default.
        resumable: a resumed run may change it.
    """
    return Field(description=text, json_schema_extra={"resumable": True} if resumable else None)


def option_fields(factory: type[Any]) -> dict[str, tuple[Any, Any]]:
    """Return option -> (annotated type, default) of the keyword-only parameters of a class."""
    hints = get_type_hints(factory.__init__, include_extras=True)
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: (hints[p.name], p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}


def validate_options(init: Callable[P, None]) -> Callable[P, None]:
    """Decorate a constructor: arguments with an `Annotated` type are converted to it, or refused.

    Raises:
        OptionError: from the constructor, about the first argument of another type or range.
    """

    @functools.cache
    def model() -> Any:
        hints = get_type_hints(init, include_extras=True)
        fields = {
            name: (hint, None) for name, hint in hints.items() if get_origin(hint) is Annotated
        }
        return create_model(init.__qualname__, **fields)  # type: ignore[call-overload]

    @functools.wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        call = inspect.signature(init).bind(*args, **kwargs)
        try:
            values = model().model_validate(call.arguments)
        except ValidationError as error:
            first = error.errors()[0]
            raise OptionError(str(first["loc"][0]), explain(first)) from None
        call.arguments |= {name: getattr(values, name) for name in values.model_fields_set}
        init(*call.args, **call.kwargs)

    return checked


def explain(error: ErrorDetails) -> str:
    """Return the reason of one of pydantic's errors in the words of all others."""
    reason = error["msg"].replace("Input should be", "must be", 1)
    for bound, words in (("greater", "at least"), ("less", "at most")):
        reason = reason.replace(f"{bound} than or equal to", words)
    return f"{reason}, got {printable(repr(error['input']), 100)}"
