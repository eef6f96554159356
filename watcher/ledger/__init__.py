"""The only writer of the tables: one function for every arrow between states.

The old state, and for a running step its token, stand in the WHERE of each change; the result says who won.
Losing is normal. Nothing here calls B2, ffmpeg or a clock.
"""

from watcher.ledger._steps import INSPECT_WEIGHT
from watcher.ledger.admin import Requeued, forget_debris, forget_output, requeue
from watcher.ledger.adoption import FACTS, adopt, note_stray
from watcher.ledger.claims import Claim, claim, renew
from watcher.ledger.ends import cancel_gone, fail, hand_back, note_lost, skip
from watcher.ledger.intake import Found, Recorded, cancel_absent, count_transactions, record_page
from watcher.ledger.pauses import What, pause, resume
from watcher.ledger.release import IN_FLIGHT, Released, end_waits, release_worker, rescue
from watcher.ledger.results import (
    NewOutput,
    NewSound,
    NewStep,
    finish,
    finish_announce,
    finish_inspect,
    publish,
    retract,
)

__all__ = [
    "FACTS",
    "INSPECT_WEIGHT",
    "IN_FLIGHT",
    "Claim",
    "Found",
    "NewOutput",
    "NewSound",
    "NewStep",
    "Recorded",
    "Released",
    "Requeued",
    "What",
    "adopt",
    "cancel_absent",
    "cancel_gone",
    "claim",
    "count_transactions",
    "end_waits",
    "fail",
    "finish",
    "finish_announce",
    "finish_inspect",
    "forget_debris",
    "forget_output",
    "hand_back",
    "note_lost",
    "note_stray",
    "pause",
    "publish",
    "record_page",
    "release_worker",
    "renew",
    "requeue",
    "rescue",
    "resume",
    "retract",
    "skip",
]
