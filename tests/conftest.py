"""What all tests share."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """Keep the user's cache out of tests; fingerprints of one test may serve another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DELINEATE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
