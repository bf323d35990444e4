"""What every test may ask for: random numbers, real data, one thread a library."""

import os
import tempfile
from pathlib import Path
from typing import Any

# Before numpy or ITK is imported: the tests share few cores, and sums must not depend on them.
for _variable in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("NO_ET", "1")
os.environ.setdefault("MPLBACKEND", "agg")
# Compiled code is shared by the workers, by the apps that they start, and by later calls.
_compiled = Path(tempfile.gettempdir(), f"rls_bids_tests_numba_{os.getuid()}")
os.environ.setdefault("NUMBA_CACHE_DIR", str(_compiled))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

REPO = Path(__file__).resolve().parents[1]

# The same examples every time, and no deadline on a busy machine.
settings.register_profile("rls_bids", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("rls_bids")


@pytest.hookimpl(optionalhook=True)  # without xdist nobody calls it
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each file to one worker, and all end-to-end tests, which share a cohort, to one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            return "tests/e2e" if path.startswith("tests/e2e/") else path

    return ByFile(config, log)


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that starts at the same place in every test."""
    return np.random.default_rng(20261122)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of small real data sets, or skip: it is not part of the repository."""
    named = os.environ.get("RLS_BIDS_TEST_DATA")
    folder = Path(named) if named else REPO.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; RLS_BIDS_TEST_DATA may name another folder")
    return folder
