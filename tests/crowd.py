"""A status table with any number of videos, as if a daemon had worked for years: made by the database itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import event
from sqlalchemy.engine import Engine

FIRST = datetime(2024, 1, 1, tzinfo=UTC)
EVERY = timedelta(seconds=10)  # between two uploads
BACKLOG = 50  # the newest videos: one that is being made, the rest waiting

# What a video's media facts and plan take, so that rows are as fat as real ones.
_FACTS = '{"facts": "' + "0123456789" * 150 + '"}'

_TIME = "strftime('%Y-%m-%dT%H:%M:%f000Z', {seconds}, 'unixepoch')"


def fill(db: Engine, videos: int) -> None:
    """Fill an empty, upgraded database: of 100 videos 94 completed, 3 failed, 2 skipped, 1 cancelled."""
    first, every = int(FIRST.timestamp()), int(EVERY.total_seconds())

    def time(delay: int) -> str:
        return _TIME.format(seconds=f"{first} + i * {every} + {delay}")

    with db.begin() as connection:
        connection.exec_driver_sql(
            f"""
            WITH RECURSIVE
              numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {videos}),
              states(i, status) AS (SELECT i, CASE
                WHEN i = {videos - BACKLOG} + 1 THEN 'running'
                WHEN i > {videos - BACKLOG} THEN 'pending'
                WHEN i % 100 < 3 THEN 'failed'
                WHEN i % 100 < 5 THEN 'skipped'
                WHEN i % 100 = 5 THEN 'cancelled'
                ELSE 'completed' END FROM numbers)
            INSERT INTO videos (id, bucket_id, bucket, file_id, name, size_bytes, content_type, uploaded_at,
              discovered_at, updated_at, status, reason, error_code, error, progress, started_at, playable_at,
              completed_at, duration_seconds, width, height, media, plan)
            SELECT i, 'bucket', 'watcher-demo', printf('4_z%060d', i),
              printf('uploads/%04d/%s-%d.mov', i % 1000, CASE i % 5 WHEN 0 THEN 'Holiday' ELSE 'clip' END, i),
              1000000 + i, 'video/quicktime', {time(0)}, {time(1)}, {time(60)}, status,
              CASE status WHEN 'skipped' THEN 'not_a_video' WHEN 'cancelled' THEN 'superseded' END,
              CASE status WHEN 'failed' THEN CASE i % 2 WHEN 0 THEN 'unreadable' ELSE 'stalled' END END,
              CASE status WHEN 'failed' THEN 'it cannot be read' END,
              CASE status WHEN 'completed' THEN 1.0 WHEN 'running' THEN 0.5 ELSE 0.0 END,
              CASE WHEN status NOT IN ('pending', 'skipped') THEN {time(2)} END,
              CASE status WHEN 'completed' THEN {time(5)} END,
              CASE status WHEN 'completed' THEN {time(60)} END,
              CASE status WHEN 'completed' THEN 12.5 END,
              CASE status WHEN 'completed' THEN 1280 END, CASE status WHEN 'completed' THEN 720 END,
              CASE status WHEN 'completed' THEN '{_FACTS}' END, CASE status WHEN 'completed' THEN '{_FACTS}' END
            FROM states
            """
        )
        for kind, file in (
            ("video_part", "parts/v.mp4"),
            ("playlist", "v720.m3u8"),
            ("hls", "master.m3u8"),
            ("mp4", "video.mp4"),
            ("poster", "poster.jpg"),
        ):
            connection.exec_driver_sql(
                f"""
                INSERT INTO outputs (video_id, kind, ordinal, bucket, name, file_id, size_bytes, sha1,
                  content_type, duration_seconds, published_at)
                SELECT id, '{kind}', 0, bucket, 'transcoded/' || name || '/{file}', '{kind}' || file_id, 500000,
                  'da39a3ee5e6b4b0d3255bfef95601890afd80709', 'video/mp4', 12.5, completed_at
                FROM videos WHERE status = 'completed'
                """
            )
        for stage, kind in enumerate(("inspect", "video", "package")):
            connection.exec_driver_sql(
                f"""
                INSERT INTO steps (video_id, kind, ordinal, stage, status, weight, progress, due_at, run_after,
                  attempts, outages, worker, started_at, finished_at)
                SELECT id, '{kind}', 0, {stage}, CASE status
                    WHEN 'completed' THEN 'completed'
                    WHEN 'running' THEN '{("completed", "running", "blocked")[stage]}'
                    ELSE '{("pending", "blocked", "blocked")[stage]}' END,
                  0.3, 0.5, discovered_at, discovered_at, 1, 0,
                  CASE status WHEN 'running' THEN 'watcher-here-0' END, started_at, completed_at
                FROM videos WHERE status IN ('pending', 'running', 'completed')
                """
            )
        for what in ("discovered", "started", "finished"):
            connection.exec_driver_sql(
                f"INSERT INTO events (at, video_id, what) SELECT discovered_at, id, '{what}' FROM videos"
            )
        connection.exec_driver_sql(
            "INSERT INTO events (at, video_id, step, what, detail)"
            " SELECT updated_at, id, 'inspect', 'failed', json_object('error_code', error_code)"
            " FROM videos WHERE status = 'failed'"
        )


@contextmanager
def listened_to(db: Engine) -> Iterator[list[tuple[str, object]]]:
    """Collect the statements that the block sends to the database, with their parameters."""
    heard: list[tuple[str, object]] = []

    def hear(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        heard.append((statement, parameters))

    event.listen(db, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        event.remove(db, "before_cursor_execute", hear)


def plan_of(db: Engine, statement: str, parameters: object) -> list[str]:
    """Return the lines of SQLite's plan for a statement."""
    with db.begin() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
        return [row[3] for row in rows]
