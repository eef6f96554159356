"""Names for the moments between two steps of the work, at which a trial may stop the process.

Nothing happens here, ever: the harness in tests/chaos puts a function of its own in the place of `here`.
"""


def here(name: str) -> None:
    """Do nothing. `name` is used in one place only, and tests/chaos has a trial for each."""
