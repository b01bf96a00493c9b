"""What every test shares: an environment that is the same on every machine, and where the shared data lies.

The environment is set before anything imports torch: one thread a process, no network, and none of the user's own
``RAIF_…`` settings. No test ever touches the user's cache.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

KEPT = ("RAIF_SHARED", "RAIF_PYTHON", "RAIF_VENV", "RAIF_TORCH_INDEX")
"""Settings of a developer's that say where things lie, not what raif does."""

for _name in [name for name in os.environ if name.startswith("RAIF_") and name not in KEPT]:
    del os.environ[_name]
os.environ |= {
    "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_COLOR": "1",
    "COLUMNS": "120",
}

PROJECT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Completions and datasets are cached in a folder that dies with the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAIF_CACHE", str(tmp_path_factory.mktemp("raif-cache")))
        patch.setenv("HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("datasets-cache")))
        yield


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout."""
    return PROJECT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that lies beside the checkout; a test that needs it is skipped where it is missing."""
    shared = Path(os.environ.get("RAIF_SHARED") or PROJECT.parent / "shared")
    data = shared / "data"
    if not data.is_dir():
        pytest.skip(f"no real data: {data} is not there (RAIF_SHARED names the folder that holds data/)")
    return data
