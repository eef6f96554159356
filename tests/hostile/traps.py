"""Files that ask whoever opens them to open something else: a secret file, or an address where somebody listens.

Texts are complete. Carriers are a green film that plays, with the bait where its format has room for one.
"""

import gzip
import struct
import subprocess
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clips import BINARY

GREEN, MAGENTA = (0, 128, 0), (255, 0, 255)  # of the carriers, and of the secret film
SIZE = "160x90"
FRAGMENTED = "frag_keyframe+empty_moov+default_base_moof"  # its places do not count from the file's beginning


@dataclass(frozen=True)
class Bait:
    """What a trap points to. The secret film is magenta; the words are in a text file."""

    film: Path
    words: Path
    port: int

    @property
    def url(self) -> str:
        """Return an address at which nobody has any business."""
        return f"http://127.0.0.1:{self.port}/canary"


def film(path: Path, colour: tuple[int, int, int], *encoding: str) -> Path:
    """Make ten frames of one colour."""
    plain = "0x{:02x}{:02x}{:02x}".format(*colour)
    options = encoding or ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    command = [str(BINARY), "-nostdin", "-loglevel", "error", "-y", "-f", "lavfi"]
    command += ["-i", f"color=c={plain}:size={SIZE}:rate=25:duration=0.4"]
    subprocess.run([*command, *options, str(path)], check=True)
    return path


def texts(bait: Bait) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of playlists, manifests, scripts and subtitles."""
    for name, text in [
        *_playlists(bait),
        *_manifests(bait),
        *_links(bait),
        *_scripts(bait),
        *_subtitles(bait),
    ]:
        yield name, text.encode()
    playlist = _hls(f"file://{bait.film}")
    yield "bom.mov", b"\xef\xbb\xbf" + playlist.encode()
    yield "utf16.mp4", playlist.encode("utf-16")
    yield "late.mp4", b"\n\n  " + playlist.encode()
    yield "packed.mp4", gzip.compress(playlist.encode())
    yield "packed.svgz", gzip.compress(dict(_manifests(bait))["picture.svg"].encode())
    yield "xbin.mp4", b"XBIN\x1a" + struct.pack("<HHBB", 80, 25, 16, 0) + playlist.encode()
    # As a playlist, and as a film behind it.
    yield (
        "playlist-then-film.mp4",
        playlist.encode() + b"\n" + film(bait.words.with_name("a.mp4"), GREEN).read_bytes(),
    )
    stream = film(bait.words.with_name("a.ts"), GREEN, "-c:v", "mpeg2video", "-f", "mpegts").read_bytes()
    yield "playlist-then-stream.ts", playlist.encode() + b"\n" + stream


def carriers(bait: Bait, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of films with a bait inside."""
    plain = film(folder / "plain.mp4", GREEN).read_bytes()
    yield "data-reference-alias.mov", with_reference(plain, b"alis", _alias(str(bait.film)))
    yield "data-reference-path.mov", with_reference(plain, b"alis", _alias(f"../../../../..{bait.film}"))
    yield "data-reference-url.mov", with_reference(plain, b"url ", bait.url.encode() + b"\0")
    yield "data-reference-urn.mp4", with_reference(plain, b"urn ", b"canary\0" + bait.url.encode() + b"\0")
    for kind, target in ((b"url ", bait.url), (b"alis", str(bait.film)), (b"url ", f"file://{bait.film}")):
        name = f"reference-movie-{kind.decode().strip()}-{len(target)}.mov"
        data = struct.pack(">I4sI", 0, kind, len(target) + 1) + target.encode() + b"\0"
        movie = _box(b"moov", _box(b"rmra", _box(b"rmda", _box(b"rdrf", data))))
        yield name, _box(b"ftyp", b"qt  \0\0\0\0qt  ") + movie
        packed = _box(
            b"cmov",
            _box(b"dcom", b"zlib") + _box(b"cmvd", struct.pack(">I", len(movie)) + zlib.compress(movie)),
        )
        yield f"packed-{name}", _box(b"ftyp", b"qt  \0\0\0\0qt  ") + _box(b"moov", packed)
    pieces = film(folder / "pieces.mp4", GREEN, "-c:v", "mpeg4", "-movflags", FRAGMENTED).read_bytes()
    yield "playlist-in-free-box.mp4", _box(b"free", _hls(bait.url).encode()) + pieces
    for name, payload in (("playlist", _hls(bait.url)), ("script", f"[Script Info]\n{bait.url}\n[Events]\n")):
        yield f"subtitle-{name}.avi", avi_with_subtitle(_jpeg(folder), payload.encode())
    (folder / "font.ttf").write_text(_hls(f"file://{bait.film}"))
    attach = ("-attach", str(folder / "font.ttf"), "-metadata:s:t", "mimetype=application/vnd.apple.mpegurl")
    attach += ("-metadata:s:t", "filename=../../../../tmp/canary", "-metadata", f"URL={bait.url}")
    matroska = film(folder / "m.mkv", GREEN, "-c:v", "mpeg4", *attach).read_bytes()
    yield "attachment.mkv", matroska
    # WritingApp becomes NextFilename: the next film of a linked chain.
    place = matroska.index(b"\x57\x41")
    size = matroska[place + 2] & 0x7F
    link = b"\x3e\x83\xbb" + bytes([0x80 | size - 1]) + b"/etc/fstab".ljust(size - 1, b"\0")
    yield "linked.mkv", matroska[:place] + link[: size + 3] + matroska[place + 3 + size :]
    yield (
        "locator.mxf",
        _with_locator(film(folder / "m.mxf", GREEN, "-c:v", "mpeg2video").read_bytes(), bait.url),
    )
    action = b"\x83" + struct.pack("<H", len(bait.url) + 2) + bait.url.encode() + b"\0\0\0"
    tag = struct.pack("<HI", 12 << 6 | 0x3F, len(action)) + action
    body = b"\x08\x00\x00\x0a\x01\x00" + tag + b"\0\0"
    yield "action.swf", b"FWS\x06" + struct.pack("<I", len(body) + 8) + body
    yield (
        "names-in-tags.mp4",
        film(folder / "t.mp4", GREEN, "-metadata", f"comment=file '{bait.words}'").read_bytes(),
    )


def object_names(bait: Bait) -> list[str]:
    """Return names for a harmless film that would be something else on a command line."""
    return [
        *(f"concat:{bait.film}|x.mp4", f"file:{bait.film}", "-i.mp4", "frame%03d.mp4", "pipe:0"),
        *(
            f"subfile,,start,0,end,9,,:{bait.film}.mp4",
            f"x.mp4; curl 127.0.0.1:{bait.port}",
            "| cat.mp4",
            "*.mp4",
        ),
    ]


def _hls(target: str) -> str:
    return (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
    )


def _playlists(bait: Bait) -> list[tuple[str, str]]:
    film, url = bait.film, bait.url
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"
    key = f'#EXT-X-KEY:METHOD=AES-128,URI="{url}",IV=0x0\n'
    return [
        ("hls-file.mp4", _hls(f"file://{film}")),
        ("hls-path.ts", _hls(str(film))),
        ("hls-relative.mov", _hls(f"../../../../../../../..{film}")),
        ("hls-http.mp4", _hls(url)),
        ("hls-subfile.mkv", _hls(f"subfile,,start,0,end,9999,,:{film}")),
        ("hls-concat.webm", _hls(f"concat:{film}|{url}")),
        ("hls-crypto.mp4", _hls(f"crypto+file://{film}")),
        ("hls-data.mp4", _hls("data:video/mp2t;base64,Rw==")),
        ("hls-key.mp4", _hls("x.ts").replace("#EXTINF", f"{key}#EXTINF")),
        ("hls-map.mp4", _hls("x.mp4").replace("#EXTINF", f'#EXT-X-MAP:URI="{url}"\n#EXTINF')),
        ("hls-master.mp4", f"{master}{url}\n"),
        ("hls-master-file.m3u8", f"{master}file://{film}\n"),
        ("hls-master-data.mp4", f"{master}data:application/vnd.apple.mpegurl,%23EXTM3U\n"),
        ("hls-sound.mp4", f'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="a",URI="{url}"\n'),
        ("concat.mp4", f"ffconcat version 1.0\nfile '{film}'\n"),
        ("concat-http.mkv", f"ffconcat version 1.0\nfile {url}\noption safe 0\n"),
        ("concat-relative.mp4", f"ffconcat version 1.0\nfile {film.name}\nfile ../{film.name}\n"),
        ("concat-bare.mov", f"file '{film}'\n"),
        ("plain.m3u", f"{film}\n{url}\n"),
        ("winamp.pls", f"[playlist]\nNumberOfEntries=1\nFile1={url}\n"),
        ("mpv.edl", f"# mpv EDL v0\n{film}\n"),
        ("sheet.cue", f'FILE "{film}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n'),
        ("icecast.nsv", f"ICY 200 OK\r\nLocation: {url}\r\n\r\n"),
    ]


def _manifests(bait: Bait) -> list[tuple[str, str]]:
    film, words, url = bait.film, bait.words, bait.url
    mpd = (
        '<?xml version="1.0"?>{head}\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' mediaPresentationDuration="PT9S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" width="160" height="90">'
        "<BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>\n"
    )
    entity = f'\n<!DOCTYPE x [<!ENTITY e SYSTEM "file://{words}">]>'
    svg = '<?xml version="1.0"?>{head}<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return [
        ("dash.mp4", mpd.format(head="", target=f"file://{film}")),
        ("dash-http.mpd", mpd.format(head="", target=url)),
        ("dash-entity.mp4", mpd.format(head=entity, target="&e;")),
        (
            "picture.svg",
            f'{svg.format(head="")}<image xlink:href="file://{film}"/><image href="{url}"/></svg>',
        ),
        ("entity.mp4", f"{svg.format(head=entity)}<text>&e;</text></svg>"),
        ("smooth.mp4", f'<SmoothStreamingMedia><StreamIndex Url="{url}"/></SmoothStreamingMedia>'),
        ("adobe.f4m", f'<manifest xmlns="http://ns.adobe.com/f4m/1.0"><media url="{url}"/></manifest>'),
        (
            "imf.mxf",
            f'<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>{url}</Id>',
        ),
        (
            "assets.mp4",
            f'<AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"><Path>{film}</Path>',
        ),
        (
            "list.xspf",
            f"<playlist><trackList><track><location>{url}</location></track></trackList></playlist>",
        ),
    ]


def _links(bait: Bait) -> list[tuple[str, str]]:
    url = bait.url
    rtsp = url.replace("http", "rtsp")
    sdp = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\na=control:{rtsp}\r\n"
    sdp += f"m=video {bait.port} RTP/AVP/TCP 96\r\na=rtpmap:96 H264/90000\r\n"
    return [
        ("session.mp4", sdp),
        ("session.sdp", sdp),
        ("quicktime.mov", f"RTSPtext\r\n{rtsp}\r\n"),
        (
            "link.qtl",
            f'<?xml version="1.0"?><?quicktime type="application/x-quicktime-media-link"?><embed src="{url}"/>',
        ),
        ("real.rm", f"{url}\n{rtsp}\n"),
        ("real.ram", f"{rtsp}\n"),
        ("windows.asf", f"[Reference]\r\nRef1={url}\r\nRef2={rtsp}\r\n"),
        ("windows.asx", f'<ASX VERSION="3.0"><ENTRY><REF HREF="{url}"/></ENTRY></ASX>'),
        ("redirect.flv", f"HTTP/1.1 302 Found\r\nLocation: {url}\r\n\r\n"),
        ("redirect.mp4", f"RTSP/1.0 302 Moved\r\nLocation: {rtsp}\r\n\r\n"),
        ("stream.smil", f'<smil><body><video src="{url}"/></body></smil>'),
    ]


def _scripts(bait: Bait) -> list[tuple[str, str]]:
    return [
        ("graph.mp4", f"movie='{bait.film}'[out0]\n"),
        ("avisynth.avi", f'DirectShowSource("{bait.film}")\n'),
        ("vapoursynth.mp4", f"import urllib.request as r\nr.urlopen('{bait.url}')\n"),
        ("shell.mp4", f"#!/bin/sh\ncurl {bait.url}\n"),
        ("ansi.mp4", f"\x1b[2J\x1b[31m{bait.url}\x1b]8;;{bait.url}\x07"),
        ("metadata.mp4", f";FFMETADATA1\ntitle={bait.film}\n[CHAPTER]\nSTART=0\nEND=9\n"),
    ]


def _subtitles(bait: Bait) -> list[tuple[str, str]]:
    return [
        ("subrip.mp4", f'1\n00:00:00,000 --> 00:00:09,000\n<img src="{bait.url}">file://{bait.words}\n'),
        (
            "advanced.mkv",
            f"[Script Info]\nScriptType: v4.00+\nAudio File: {bait.film}\nVideo File: {bait.url}\n",
        ),
        ("sami.mp4", f'<SAMI><HEAD><LINK HREF="{bait.url}"></HEAD><BODY><SYNC Start=0><P>x</BODY></SAMI>'),
        ("microdvd.avi", f"{{1}}{{1}}25\n{{1}}{{99}}{{f:{bait.words}}}x\n"),
        (
            "webvtt.mp4",
            f"WEBVTT\n\nSTYLE\n::cue {{ background: url({bait.url}) }}\n\n00:00.000 --> 00:09.000\nx\n",
        ),
        (
            "vobsub.mp4",
            f"# VobSub index file, v7 (do not modify this line!)\nsize: 720x576\n# {bait.words}\n",
        ),
        ("mpsub.mp4", f"FILE={bait.film},2\nFORMAT=TIME\n0 9\nx\n"),
    ]


def with_reference(data: bytes, kind: bytes, target: bytes) -> bytes:
    """Return an MP4 whose tracks say that their samples lie in another file; its index comes last."""
    entry = _box(kind, b"\0\0\0\0" + target)
    return _rebuilt(data, _box(b"dref", struct.pack(">II", 0, 1) + entry))


def _rebuilt(data: bytes, dref: bytes) -> bytes:
    out, place = b"", 0
    while place + 8 <= len(data):
        size, name = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + size]
        if name in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):
            out += _box(name, _rebuilt(body, dref))
        else:
            out += dref if name == b"dref" else _box(name, body)
        place += size
    return out


def _alias(path: str) -> bytes:
    """Return a Macintosh alias record, of which only the absolute path (tag 2) and its like (18) matter."""
    head = bytearray(150)
    head[4:8] = struct.pack(">HH", 150, 2)
    tags = b"".join(
        struct.pack(">HH", tag, len(path)) + path.encode() + b"\0" * (len(path) % 2) for tag in (2, 18)
    )
    return bytes(head) + tags + struct.pack(">HH", 0xFFFF, 0)


def avi_with_subtitle(picture: bytes, payload: bytes) -> bytes:
    """Return an AVI of five pictures with a subtitle track of one packet (GAB2), a file within the file."""
    name = "x".encode("utf-16-le") + b"\0\0"
    text = b"GAB2\0" + struct.pack("<HI", 2, len(name)) + name + struct.pack("<HI", 4, len(payload)) + payload
    size = struct.pack("<ii", 160, 90)
    header = _chunk(b"avih", struct.pack("<10I4I", 100_000, 0, 0, 0, 5, 0, 2, 0, 160, 90, 0, 0, 0, 0))
    stream = struct.pack(
        "<4s4sIHHIIIIIIIIhhhh", b"vids", b"MJPG", 0, 0, 0, 0, 1, 10, 0, 5, 0, 0, 0, 0, 0, 160, 90
    )
    format = struct.pack("<I", 40) + size + struct.pack("<HH4sIiiII", 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    header += _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", format))
    stream = struct.pack(
        "<4s4sIHHIIIIIIIIhhhh", b"txts", b"\0" * 4, 0, 0, 0, 0, 1, 10, 0, 5, 0, 0, 0, 0, 0, 0, 0
    )
    header += _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", b""))
    packets = _chunk(b"01tx", text) + _chunk(b"00dc", picture) * 5
    body = b"AVI " + _list(b"hdrl", header) + _list(b"movi", packets)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg(folder: Path) -> bytes:
    return film(folder / "one.jpg", GREEN, "-frames:v", "1", "-update", "1", "-f", "image2").read_bytes()


def _with_locator(data: bytes, url: str) -> bytes:
    """Put a NetworkLocator, where the essence is said to lie, in place of filler in an MXF header."""
    fill = bytes.fromhex("060e2b34010101020301021001000000")
    place = data.index(fill)
    assert data[place + 16] == 0x83
    length = int.from_bytes(data[place + 17 : place + 20], "big")
    text = url.encode("utf-16-be")
    item = struct.pack(">HH", 0x4001, len(text)) + text
    key = bytes.fromhex("060e2b34025301010d01010101013200")
    locator = key + b"\x83" + len(item).to_bytes(3, "big") + item
    rest = length - len(locator)
    return (
        data[:place]
        + locator
        + data[place : place + 17]
        + rest.to_bytes(3, "big")
        + bytes(rest)
        + data[place + 20 + length :]
        if rest >= 0
        else data
    )


def _box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, name) + body


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _list(name: bytes, body: bytes) -> bytes:
    return _chunk(b"LIST", name + body)
