"""Small clips for tests, made with the real ffmpeg, and a server that gives them out by ranges as `source` does."""

import http.server
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from watcher import encode, ffmpeg, plan
from watcher import inspect as inspection
from watcher.beat import Beat
from watcher.media import Media

BINARY = ffmpeg.locate(None)
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "30", "-pix_fmt", "yuv420p")
PROFILE = plan.Profile(quality="fast")


def make(
    path: Path,
    *encoding: str,
    seconds: float = 2,
    size: str = "320x180",
    rate: int = 25,
    sound: bool = True,
    sound_late: float = 0,
    sound_seconds: float | None = None,
) -> Path:
    """Make a clip with a moving test picture and a tone; H.264 and AAC unless `encoding` says otherwise."""
    source = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate={rate}:duration={seconds}"]
    if sound:
        tone = f"sine=frequency=440:sample_rate=48000:duration={sound_seconds or seconds}"
        source += ["-itsoffset", str(sound_late), "-f", "lavfi", "-i", tone]
    run(*source, *(encoding or (*H264, "-c:a", "aac")), str(path))
    return path


def run(*arguments: str) -> None:
    """Run ffmpeg as anybody would."""
    subprocess.run([str(BINARY), "-nostdin", "-loglevel", "error", "-y", *arguments], check=True)


def cut(whole: Path, path: Path, *, share: float) -> Path:
    """Write the first `share` of a file's bytes, as an upload that broke off."""
    data = whole.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def set_back(whole: Path, path: Path, *, at: float, by: float) -> Path:
    """Set the clock of a Matroska file back, in all that comes from a time in it on; times in seconds."""
    fine = path.with_name("fine.mkv")
    run("-i", str(whole), "-c", "copy", "-cluster_time_limit", "200", str(fine))
    data = bytearray(fine.read_bytes())
    for cluster in re.finditer(rb"\x1f\x43\xb6\x75.{1,12}?\xe7([\x81-\x88])", data, re.DOTALL):
        length = cluster[1][0] & 0x7F
        now = int.from_bytes(data[cluster.end() : cluster.end() + length])
        if now >= at * 1000:
            data[cluster.end() : cluster.end() + length] = round(now - by * 1000).to_bytes(length)
    path.write_bytes(data)
    return path


def bench(folder: Path) -> encode.Bench:
    """Return a bench in a new folder under `folder`."""
    place = folder / f"bench-{len(list(folder.glob('bench-*')))}"
    place.mkdir()
    return encode.Bench(binary=BINARY, folder=place, beat=Beat(), limits=ffmpeg.Limits(), threads=1)


def inspect(source: str | Path, folder: Path, *, name: str, size_bytes: int, content_type: str = "") -> Media:
    """Inspect as the step does."""
    table = bench(folder)
    return inspection.inspect(
        source,
        name=name,
        content_type=content_type,
        size_bytes=size_bytes,
        folder=table.folder,
        beat=table.beat,
        limits=table.limits,
    )


def inspect_file(path: Path, folder: Path) -> Media:
    """Inspect a file on disk under its own name."""
    return inspect(path, folder, name=path.name, size_bytes=path.stat().st_size)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the files of `folder` on 127.0.0.1 while the block runs; give the URL that their names follow."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.RequestHandlerClass.folder = folder  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder: Path

    def do_GET(self) -> None:
        data = (self.folder / self.path.removeprefix("/")).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = int(asked[2]) + 1 if asked and asked[2] else len(data)
        if start >= len(data):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
            self.end_headers()
            return
        self.send_response(206 if asked else 200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(min(end, len(data)) - start))
        self.send_header("Content-Range", f"bytes {start}-{min(end, len(data)) - 1}/{len(data)}")
        # Said aloud: libavformat 8.1 takes a connection that ends unannounced for one that goes on.
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(data[start:end])
        except ConnectionError:
            return  # ffmpeg hangs up whenever it seeks

    def log_message(self, format: str, *arguments: object) -> None:
        pass
