"""Translation directions between the domains a and b."""

from enum import StrEnum
from typing import Literal

Domain = Literal["a", "b"]


class Direction(StrEnum):
    """A direction as it is written everywhere: code, settings, files, command line."""

    A2B = "a2b"
    B2A = "b2a"

    @property
    def source(self) -> Domain:
        """Domain of the inputs."""
        return "a" if self is Direction.A2B else "b"

    @property
    def target(self) -> Domain:
        """Domain of the outputs."""
        return "b" if self is Direction.A2B else "a"

    @property
    def domains(self) -> tuple[Domain, Domain]:
        """Domains of the inputs and of the outputs."""
        return self.source, self.target
