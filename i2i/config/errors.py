"""Errors in settings, alone or several at once."""

from collections.abc import Iterable

from i2i.errors import I2IError


class ConfigError(I2IError, ValueError):
    """A setting that cannot be used, or several: `errors` has one for each."""

    _parts: tuple["ConfigError", ...] = ()

    @classmethod
    def combine(cls, errors: Iterable["ConfigError"]) -> "ConfigError":
        """Return one error that reports all of `errors`, each message once, a line each."""
        parts = [part for error in errors for part in error.errors]
        distinct = tuple({str(part): part for part in parts}.values())
        if len(distinct) == 1:
            return distinct[0]
        combined = cls("settings", f"{len(distinct)} errors")
        combined._parts = distinct
        return combined

    @property
    def errors(self) -> tuple["ConfigError", ...]:
        """The single errors."""
        return self._parts or (self,)

    def __str__(self) -> str:
        return "\n".join(map(str, self._parts)) or super().__str__()
