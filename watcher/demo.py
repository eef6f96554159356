"""`watcher demo`: the main job from end to end on the local B2, with a video that is given or made."""

import shutil
import tempfile
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from watcher import config, daemon, ffmpeg, localb2, service, stats, workshop
from watcher.beat import Beat
from watcher.errors import Misconfigured
from watcher.models import OutputKind

BUCKET = "watcher-demo"
# What phones and cameras do not make and browsers do not play: it has to be encoded.
MADE_NAME = "holiday clip.mov"
MADE_SECONDS = 10

STATE = "state-"  # how the names of folders begin that hold a demo's bucket and table while it runs
MARK = ".watcher-demo"  # lies in a folder that is the demo's to write in
RESULTS = {OutputKind.MP4: "video.mp4", OutputKind.POSTER: "poster.jpg"}

Watch = Callable[[workshop.Workshop], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of the demo. `files` are copies outside the bucket, for a player; none when the video failed."""

    video_id: int
    objects: tuple[str, ...]
    files: tuple[Path, ...]


def run(
    video: Path | None,
    folder: Path,
    *,
    seats: int,
    watch: Watch,
    finished: Callable[[workshop.Workshop, Result], None],
) -> None:
    """Upload `video` (or one made here) to a local B2 in `folder`, run the daemon until all is done, copy the results.

    `watch` is called while it works, `finished` once at the end with the table still open. Results of an earlier
    demo in `folder` are replaced; a folder that is not a demo's is refused.
    """
    if video is not None and not video.is_file():
        raise Misconfigured([f"VIDEO: there is no file {str(video)!r}"])
    _take(folder, video)
    with tempfile.TemporaryDirectory(prefix=STATE, dir=folder) as name:
        state = Path(name)
        if video is None:
            video = _make(state / MADE_NAME)
        with (
            localb2.serve(state / "b2", buckets=[BUCKET]) as b2,
            workshop.opened(_settings(state, b2)) as shop,
        ):
            shop.target.upload(video, f"uploads/{video.name}", content_type="b2/x-auto", info={}, beat=Beat())
            worker = daemon.Daemon(
                shop, seats=seats, poll_every=timedelta(seconds=1), drain=timedelta(seconds=5)
            )
            with service.signals(worker), worker:
                is_done = worker.wait(until_idle=True, tick=lambda: watch(shop))
            if not is_done:
                raise KeyboardInterrupt
            finished(shop, _collect(shop, folder))


def _take(folder: Path, video: Path | None) -> None:
    """Make `folder` the demo's own, without harm to anything that is the user's."""
    if video is not None and video.resolve().is_relative_to(folder.resolve()):
        raise Misconfigured(
            [f"VIDEO: {str(video)!r} lies in {str(folder)!r}, where results are put: move it first"]
        )
    try:
        if folder.exists() and not (folder / MARK).is_file():
            raise Misconfigured([f"{str(folder)!r} exists and is not a demo's: name another with --folder"])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).write_text("The results of `watcher demo`; it overwrites them.\n", encoding="utf-8")
        for name in RESULTS.values():
            (folder / name).unlink(missing_ok=True)
        for state in folder.glob(f"{STATE}*"):  # of a demo that was killed
            shutil.rmtree(state, ignore_errors=True)
    except OSError as error:
        raise Misconfigured(
            [f"cannot write in {str(folder)!r}: {error.strerror}: name another with --folder"]
        ) from error


def _settings(state: Path, b2: localb2.LocalB2) -> config.Settings:
    return config.load(
        {
            "B2_APPLICATION_KEY_ID": b2.key_id,
            "B2_APPLICATION_KEY": b2.key,
            "B2_BUCKET_NAME": BUCKET,
            "B2_REALM": b2.realm,
            "DATABASE_URL": f"sqlite:///{urllib.parse.quote(str(state / 'watcher.db'))}",
            "SCRATCH_DIR": str(state / "scratch"),
            "QUALITY": "fast",  # somebody is watching
        }
    )


def _make(path: Path) -> Path:
    """Make a short clip with a test picture and a tone."""
    arguments = ["-f", "lavfi", "-i", f"testsrc2=size=1280x720:rate=30:duration={MADE_SECONDS}"]
    arguments += ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={MADE_SECONDS}"]
    arguments += ["-c:v", "mpeg4", "-q:v", "4", "-c:a", "pcm_s16le", str(path.resolve())]
    ffmpeg.run(
        arguments,
        binary=ffmpeg.locate(None),
        folder=path.parent,
        beat=Beat(),
        limits=ffmpeg.Limits(),
        duration=timedelta(seconds=MADE_SECONDS),
    )
    return path


def _collect(shop: workshop.Workshop, folder: Path) -> Result:
    """Copy the outputs of the one video out of the bucket, for a player."""
    row = stats.list_videos(shop.readings, limit=1)[0]
    paths: dict[str, Path] = {}
    for output in stats.outputs(shop.readings, row["id"]):
        if output.kind in RESULTS:
            paths[output.kind] = folder / RESULTS[OutputKind(output.kind)]
            shop.target.download(output.file_id, paths[output.kind], beat=Beat())
    return Result(
        row["id"],
        tuple(row[kind] for kind in ("hls", "mp4", "poster", "storyboard") if row[kind]),
        tuple(paths.values()),
    )
