"""The ledger's protocol holds in whatever order things happen; see `protocol`."""

import protocol
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

# About a minute on one core. Derandomized: the same walks each time, so that a change that breaks one is to blame.
WALKS = settings(
    max_examples=100,
    stateful_step_count=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


def test_nothing_is_lost_and_nothing_counts_twice_in_whatever_order_things_happen() -> None:
    with protocol.table() as (db, readings):
        run_state_machine_as_test(lambda: protocol.Protocol(db, readings), settings=WALKS)
