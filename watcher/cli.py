"""The `watcher` command: what the operator types, sees, and gets as an exit code.

Exit codes: 0 done · 1 it ran, and something is wrong (a video failed, doctor found a problem, a video could not be
requeued) · 2 wrong usage or settings · 3 B2 or the database does not answer · 130 interrupted.
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from sqlalchemy.engine import Engine

from watcher import (
    __version__,
    board,
    config,
    daemon,
    database,
    demo,
    display,
    doctor,
    init,
    ledger,
    localb2,
    log,
    service,
    stats,
    workshop,
)
from watcher.errors import CODES, Failure, Misconfigured, Outage
from watcher.models import VideoStatus

WRONG, UNUSABLE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
SHOWN = 20  # rows, unless asked for more
MOST = 2**63 - 1  # what a column of the database holds

app = typer.Typer(
    help="Watches a Backblaze B2 bucket and makes every video that is dropped into it playable.",
    epilog="Exit codes: 0 done, 1 something is wrong, 2 wrong usage or settings, 3 B2 or the database does"
    " not answer, 130 interrupted. Settings come from the environment and from .env in the current folder.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db_app = typer.Typer(help="Look after the database that holds the status table.", no_args_is_help=True)
app.add_typer(db_app, name="db")

_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)


def main() -> None:
    """Run the command line and end the process, with every expected error as a message and an exit code."""
    init.step_back()
    code = _run()
    with contextlib.suppress(OSError):  # nobody reads any more
        sys.stdout.flush()
    # Threads of concurrent.futures would be waited for, and one may hang in a call to B2 for minutes.
    os._exit(code)


def _run() -> int:
    try:
        app()
    except Misconfigured as error:
        for problem in error.problems:
            _err.print(Text(f"watcher: {display.clean(problem)}"), soft_wrap=True)
        return UNUSABLE
    except Outage as outage:
        # The hint of a code is for a daemon that goes on; this process ends.
        is_down = outage.code == "b2_unavailable"
        hint = "Check the network and B2_REALM, then start again." if is_down else outage.hint
        _err.print(Text(f"watcher: {display.clean(outage.detail)}\n{hint}"), soft_wrap=True)
        return UNREACHABLE
    except Failure as failure:
        _err.print(Text(f"watcher: {display.clean(failure.detail)}\n{failure.hint}"), soft_wrap=True)
        return WRONG
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    if version:
        _out.print(__version__)
        raise typer.Exit


@app.command()
def run(
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Exit when the bucket was listed and nothing is left to do.")
    ] = False,
) -> None:
    """Watch the bucket and transcode what appears, until SIGINT or SIGTERM (the second one stops at once)."""
    if not service.run(_settings(), until_idle=until_idle):
        raise typer.Exit(WRONG)


@app.command()
def scan() -> None:
    """List the bucket once and record what is new; a running daemon, or the next one, works on it."""
    settings = _settings()
    with workshop.opened(settings) as shop:
        new = daemon.sweep_once(shop)
        seen = stats.scan(shop.readings, bucket_id=shop.watched.bucket.id, prefix=shop.watched.prefix)
        objects = seen.objects if seen is not None else 0
        _out.print(f"{new} new of {objects} objects in {settings.bucket}")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows of video_status as JSON.")] = False,
    only: Annotated[
        VideoStatus | None, typer.Option("--status", "-s", help="Only videos in this state.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", "-n", min=1, max=MOST, help="At most so many, the newest: 20, of --json all."
        ),
    ] = None,
) -> None:
    """Show the status table, newest first."""
    with _readings() as db:
        if as_json:
            rows = stats.list_videos(db, status=only, limit=limit)
            _out.print(display.to_json(rows), markup=False, soft_wrap=True)
        else:
            _out.print(board.table(db, status=only, limit=limit or SHOWN, width=_out.width))


@app.command()
def watch(
    only: Annotated[
        VideoStatus | None, typer.Option("--status", "-s", help="Only videos in this state.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, max=MOST, help="At most so many videos; else a screenful."),
    ] = None,
) -> None:
    """Keep on screen what is waiting, what each seat does, and the newest videos, until Ctrl+C."""
    with _readings() as db:
        board.keep(db, _out, status=only, limit=limit, seats=_settings(needs_b2=False).seats)


@app.command()
def show(
    video: Annotated[str, typer.Argument(help="A video's ID, or the object's name.")],
    full: Annotated[bool, typer.Option("--full", help="Every chunk, part and announcement too.")] = False,
) -> None:
    """Tell the story of one video: facts, steps, outputs, events, and what to do if it failed."""
    with _readings() as db:
        ids = [int(video)] if video.isdecimal() and int(video) <= MOST else []
        rows = stats.list_videos(db, ids=ids) if ids else []
        if not rows:
            found = stats.find_ids(db, video)
            rows = stats.list_videos(db, ids=found) if found else []
        if not rows:
            raise Misconfigured([f"there is no video {video!r}: `watcher status` lists them"])
        for row in rows:
            whole = stats.video(db, row["id"])
            _out.print(
                display.story(
                    row,
                    stats.steps(db, row["id"]),
                    stats.outputs(db, row["id"]),
                    stats.events(db, row["id"]),
                    whole=whole,
                    now=daemon.now(),
                    is_full=full,
                )
            )


@app.command()
def requeue(
    ids: Annotated[
        list[int] | None, typer.Argument(help="IDs of videos.", metavar="[ID]...", min=1, max=MOST)
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All videos that failed.")] = False,
    code: Annotated[
        list[str] | None, typer.Option("--code", help="Those that failed with this error code.")
    ] = None,
    from_scratch: Annotated[
        bool,
        typer.Option("--from-scratch", help="Forget finished steps too; also makes completed videos again."),
    ] = False,
) -> None:
    """Try failed videos again, going on where they stopped."""
    if not ids and not failed and not code:
        raise Misconfigured(["say which videos: IDs, --failed, or --code CODE"])
    unknown = [name for name in code or [] if name not in CODES]
    if unknown:
        raise Misconfigured([f"unknown error code {', '.join(unknown)}: known are {', '.join(CODES)}"])
    settings = _settings(needs_b2=False)
    db = database.open_for_writing(_existing(settings))
    try:
        database.upgrade(db)
        done = ledger.requeue(
            db,
            ids=ids or [],
            error_codes=code or [],
            all_failed=failed,
            from_scratch=from_scratch,
            now=daemon.now(),
        )
    finally:
        db.dispose()
    for video_id in done.requeued:
        _out.print(f"video {video_id} is pending again")
    for video_id, why in done.refused:
        _err.print(f"video {video_id} was left alone: {why}", markup=False)
    if not done.requeued and not done.refused:
        _out.print("no failed videos to requeue")
    if done.refused:
        raise typer.Exit(WRONG)


@app.command(name="web")
def serve_web(
    host: Annotated[str | None, typer.Option(help="WEB_HOST, or else 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="WEB_PORT, or else 8080.")] = None,
) -> None:
    """Serve the status page and the JSON API: gallery, player, operations. Reads the table, changes nothing."""
    try:
        from watcher import web  # noqa: PLC0415 - an extra, which the daemon does without
    except ModuleNotFoundError as error:
        raise Misconfigured([f"the status page needs {error.name}: pip install 'watcher[web]'"]) from error
    settings = _settings()
    web.serve(settings, host=host or settings.web_host, port=port or settings.web_port)


@app.command(name="doctor")
def examine(
    deep: Annotated[bool, typer.Option("--deep", help="Also compare table, bucket and machine.")] = False,
) -> None:
    """Check the settings, the key, ffmpeg, the disk and the database, and say what to mend."""
    settings = _settings()
    styles = {"ok": "green", "warning": "yellow", "problem": "bold red"}
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    is_well = True
    for finding in doctor.examine(settings, is_deep=deep):
        detail = Text(display.clean(finding.detail))
        for line in finding.hint.splitlines():
            detail.append(f"\n{display.clean(line)}", style="dim")
        table.add_row(Text(finding.verdict, style=styles[finding.verdict]), finding.subject, detail)
        is_well = is_well and finding.verdict != "problem"
    _out.print(table)
    if not is_well:
        raise typer.Exit(WRONG)


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Create the database, or bring its schema up to date."""
    settings = _settings(needs_b2=False)
    db = database.open_for_writing(settings.database_url.get_secret_value())
    try:
        applied = database.upgrade(db)
    finally:
        db.dispose()
    what = f"upgraded to {applied[-1]}" if applied else "is up to date"
    _out.print(f"{settings.database_file} {what}", markup=False, soft_wrap=True)


@db_app.command("check")
def db_check() -> None:
    """Look for damage in the database."""
    with _readings() as db:
        problems = database.check(db)
    for problem in problems:
        _out.print(problem, markup=False, soft_wrap=True)
    if problems:
        raise typer.Exit(WRONG)
    _out.print("the database is intact")


@db_app.command("backup")
def db_backup(target: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")]) -> None:
    """Copy the database to a new file, also while the daemon runs."""
    with _readings() as db:
        database.backup(db, target)
    _out.print(f"backed up to {target}", markup=False, soft_wrap=True)


@app.command(name="localb2")
def serve_local_b2(
    folder: Annotated[Path, typer.Option(help="Where it keeps its files.")] = Path("watcher-localb2"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = localb2.PORT,
    bucket: Annotated[
        list[str] | None, typer.Option(help="Made if missing; may be given more than once.")
    ] = None,
    bandwidth: Annotated[int | None, typer.Option(min=1, help="Limit in Mbit/s, each way.")] = None,
    latency: Annotated[int | None, typer.Option(min=0, help="Milliseconds added to each request.")] = None,
) -> None:
    """Run a B2 on this machine, for development: the native API on 127.0.0.1."""
    localb2.run(
        folder,
        port=port,
        buckets=bucket or localb2.BUCKETS,
        bandwidth=bandwidth * 1_000_000 if bandwidth is not None else None,
        latency=timedelta(milliseconds=latency) if latency is not None else None,
    )


@app.command(name="demo")
def show_demo(
    video: Annotated[
        Path | None, typer.Argument(help="A video of yours; without one, a clip is made.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the results are put.")] = Path("watcher-demo"),
) -> None:
    """Do the main job once on a local B2: upload a video, watch it being made playable, see the results."""
    log.configure(level="warning", format="auto")
    failed = True

    def finished(shop: workshop.Workshop, result: demo.Result) -> None:
        nonlocal failed
        live.stop()
        _out.print(board.table(shop.readings, status=None, limit=SHOWN, width=_out.width))
        if not result.files:
            row = stats.list_videos(shop.readings, ids=[result.video_id])[0]
            why = row["error"] or row["reason"] or row["status"]
            _out.print(Text(f"No MP4 was made: {display.clean(str(why))}"), soft_wrap=True)
            return
        failed = False
        for what, paths in (("In the bucket", result.objects), ("To play here", result.files)):
            for number, path in enumerate(paths):
                _out.print(Text(f"{'' if number else what:15}{display.clean(str(path))}"), soft_wrap=True)

    with Live(console=_out, auto_refresh=False, transient=True) as live:

        def watch(shop: workshop.Workshop) -> None:
            table = board.table(shop.readings, status=None, limit=SHOWN, width=_out.width, with_bars=True)
            live.update(table, refresh=True)

        demo.run(video, folder, seats=2, watch=watch, finished=finished)
    if failed:
        raise typer.Exit(WRONG)


def _settings(*, needs_b2: bool = True) -> config.Settings:
    settings = config.load(needs_b2=needs_b2)
    log.configure(level=settings.log_level, format=settings.log_format)
    return settings


def _existing(settings: config.Settings) -> str:
    """Return the database's URL; Misconfigured when there is no database yet."""
    url = settings.database_url.get_secret_value()
    database.open_for_reading(url).dispose()
    return url


@contextlib.contextmanager
def _readings() -> Iterator[Engine]:
    settings = _settings(needs_b2=False)
    db = database.open_for_reading(settings.database_url.get_secret_value())
    try:
        database.demand_current(db)
        yield db
    finally:
        db.dispose()
