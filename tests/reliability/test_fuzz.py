"""Whatever comes in, it is taken as it is or refused with a message: generated attacks on all that reads files."""

import pytest
from fuzzing import PROPERTIES, attack


@pytest.mark.parametrize("name", PROPERTIES)
def test_no_generated_input_breaks_what_must_hold(name: str, thorough: bool) -> None:
    attack(name, examples=500 if thorough else 40)
