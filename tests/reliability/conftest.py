"""Promises with counts: every test runs a few repeats by default, and all of them under `pytest -m slow`."""

import pytest

FEW = pytest.param(False, id="few")
ALL = pytest.param(True, id="all", marks=pytest.mark.slow)


@pytest.fixture(params=[FEW, ALL])
def thorough(request: pytest.FixtureRequest) -> bool:
    """Whether to run every repeat that `docs/reliability.md` counts."""
    return bool(request.param)
