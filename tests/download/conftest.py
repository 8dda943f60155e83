from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.download_site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.shutdown()
    made.server_close()
