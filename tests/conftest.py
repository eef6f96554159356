"""What every test may ask for: a real B2 over HTTP, and our own door to it."""

import pathlib
from collections.abc import Iterator

import pytest

from watcher import bucket as bucket_door
from watcher import localb2


@pytest.fixture
def b2(tmp_path: pathlib.Path) -> Iterator[localb2.LocalB2]:
    """A local B2 with the bucket `watcher-demo`, whose clients send files above 5 MB in parts."""
    with localb2.serve(tmp_path / "b2", part_bytes=5_000_000) as server:
        yield server


@pytest.fixture
def account(b2: localb2.LocalB2) -> bucket_door.Account:
    return bucket_door.connect(key_id=b2.key_id, key=b2.key, realm=b2.realm)


@pytest.fixture
def bucket(account: bucket_door.Account) -> bucket_door.Bucket:
    return account.bucket("watcher-demo")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the tables that tests recorded, also those that ran in another process."""
    for report in [*terminalreporter.stats.get("passed", []), *terminalreporter.stats.get("failed", [])]:
        for name, value in getattr(report, "user_properties", []):
            if name == "table" and report.when == "call":
                terminalreporter.section(report.nodeid.rpartition("::")[2])
                terminalreporter.write_line(str(value))
