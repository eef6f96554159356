"""The local B2 answers real clients, b2sdk and the `b2` command, as B2 does."""

import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import sysconfig
import urllib.parse
from collections.abc import Iterator

import pytest
from b2sdk import v3
from b2sdk.v3 import exception

from watcher import errors, localb2
from watcher.localb2 import store

NAMES = [
    "plain.mp4",
    "with space and 'single' and \"double\" quotes.mp4",
    "$(touch owned) `id` ; rm -rf ~ | & > < * ? !.mp4",
    "-leading dash --help",
    "emoji 🎬 e\u0301 \u202e \u00a0",
    "..",
    "a/../../etc/passwd",
    "100% + %2B %20 + a+b",
    "#frag?query=1&x=2",
    "/".join(["segment-" + "x" * 191] * 5) + "y",
]
PART = 5_000_000  # bytes; what the `b2` fixture's clients are told to send parts of


@pytest.fixture
def api(b2: localb2.LocalB2) -> v3.B2Api:
    api = v3.B2Api(v3.InMemoryAccountInfo())
    api.authorize_account(b2.key_id, b2.key, b2.realm)
    return api


@pytest.fixture
def demo(api: v3.B2Api) -> v3.Bucket:
    return api.get_bucket_by_name("watcher-demo")


class Client:
    """Plain HTTP, for what b2sdk would not send."""

    def __init__(self, b2: localb2.LocalB2) -> None:
        self._connection = http.client.HTTPConnection(urllib.parse.urlsplit(b2.realm).netloc)

    def ask(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        self._connection.request(method, path, body or None, {"Authorization": token, **(headers or {})})
        answer = self._connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def client(b2: localb2.LocalB2) -> Iterator[Client]:
    client = Client(b2)
    yield client
    client.close()


def test_the_b2_command_uploads_lists_downloads_and_deletes(
    b2: localb2.LocalB2, tmp_path: pathlib.Path
) -> None:
    def run(*arguments: str) -> bytes:
        command = pathlib.Path(sysconfig.get_path("scripts")) / "b2"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "B2_APPLICATION_KEY_ID": b2.key_id,
            "B2_APPLICATION_KEY": b2.key,
            "B2_ENVIRONMENT": b2.realm,
            "B2_ACCOUNT_INFO": str(tmp_path / "account"),
        }
        return subprocess.run(
            [command, *arguments], check=True, capture_output=True, cwd=tmp_path, env=environment
        ).stdout

    (tmp_path / "small").write_bytes(b"a small file")
    (tmp_path / "large").write_bytes(os.urandom(2 * PART + 1))
    name = "-$(x) 'q' 🎬 100% a+b"

    run("file", "upload", "--no-progress", "watcher-demo", "small", name)
    run("file", "upload", "--no-progress", "watcher-demo", "large", "in parts.bin")
    assert b2.calls["b2_upload_part"] >= 2
    assert run("ls", "b2://watcher-demo").decode().splitlines() == [name, "in parts.bin"]
    assert run("file", "cat", "--no-progress", f"b2://watcher-demo/{name}") == b"a small file"
    run("file", "download", "--no-progress", "b2://watcher-demo/in parts.bin", "back")
    assert (tmp_path / "back").read_bytes() == (tmp_path / "large").read_bytes()
    run("rm", "--no-progress", "b2://watcher-demo/in parts.bin")
    assert run("ls", "--versions", "b2://watcher-demo").decode().splitlines() == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_comes_back_as_it_was_given(demo: v3.Bucket, client: Client, name: str) -> None:
    sent = demo.upload_bytes(name.encode(), name, file_info={"title": name[:100]})

    # Neither Bucket.ls, which takes no backslash, nor requests, which resolves "..".
    listed = demo.api.session.list_file_names(demo.id_)["files"]
    token = demo.api.account_info.get_account_auth_token()
    by_id = demo.api.download_file_by_id(sent.id_)
    by_name = client.ask("GET", f"/file/watcher-demo/{urllib.parse.quote(name)}", token=token)

    assert [(file["fileName"], file["fileInfo"]) for file in listed] == [(name, {"title": name[:100]})]
    assert (by_id.download_version.file_name, by_id.response.content) == (name, name.encode())
    assert by_name[::2] == (200, name.encode())
    demo.delete_file_version(sent.id_, name)
    assert demo.api.session.list_file_names(demo.id_)["files"] == []


def test_a_file_in_parts_reads_by_range_across_the_parts(demo: v3.Bucket, tmp_path: pathlib.Path) -> None:
    data = os.urandom(2 * PART + 123)
    (tmp_path / "large").write_bytes(data)

    sent = demo.upload_local_file(tmp_path / "large", "large", min_part_size=PART)
    part = demo.api.download_file_by_id(sent.id_, range_=(PART - 10, 2 * PART + 9)).response

    assert part.status_code == 206
    assert part.content == data[PART - 10 : 2 * PART + 10]


@pytest.mark.parametrize(
    ("asked", "status", "range_header", "body"),
    [
        (None, 200, None, b"0123456789"),
        ("bytes=0-", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=0-0", 206, "bytes 0-0/10", b"0"),
        ("bytes=7-", 206, "bytes 7-9/10", b"789"),
        ("bytes=7-99", 206, "bytes 7-9/10", b"789"),
        ("bytes=-3", 206, "bytes 7-9/10", b"789"),
        ("bytes=-99", 206, "bytes 0-9/10", b"0123456789"),
        ("bytes=0-1,3-4", 200, None, b"0123456789"),
        ("lines=1-2", 200, None, b"0123456789"),
        ("bytes=10-", 416, None, None),
        ("bytes=-0", 416, None, None),
    ],
)
def test_a_range_is_answered_as_http_says(
    demo: v3.Bucket,
    client: Client,
    asked: str | None,
    status: int,
    range_header: str | None,
    body: bytes | None,
) -> None:
    demo.upload_bytes(b"0123456789", "digits")
    token = demo.api.account_info.get_account_auth_token()

    answer = client.ask(
        "GET", "/file/watcher-demo/digits", token=token, headers={"Range": asked} if asked else {}
    )

    assert (answer[0], answer[1].get("Content-Range")) == (status, range_header)
    if body is None:
        assert json.loads(answer[2])["code"] == "range_not_satisfiable"
    else:
        assert answer[2] == body


def test_a_hidden_name_is_not_listed_and_its_versions_are(demo: v3.Bucket) -> None:
    first = demo.upload_bytes(b"one", "name")
    second = demo.upload_bytes(b"two", "name")
    demo.hide_file("name")

    assert list(demo.ls(recursive=True)) == []
    versions = [version for version, _ in demo.ls(latest_only=False, recursive=True)]
    assert [version.action for version in versions] == ["hide", "upload", "upload"]
    assert [version.id_ for version in versions[1:]] == [second.id_, first.id_]
    assert demo.api.download_file_by_id(first.id_).response.content == b"one"
    with pytest.raises(exception.FileNotPresent):
        demo.download_file_by_name("name")


def test_a_large_file_keeps_the_time_of_its_start(demo: v3.Bucket) -> None:
    session = demo.api.session
    started = session.start_large_file(demo.id_, "name", "video/mp4", {})
    later = demo.upload_bytes(b"later", "name", custom_upload_timestamp=started["uploadTimestamp"] + 1)
    large = v3.LargeFileUploadState(v3.DoNothingProgressListener())
    body = v3.UploadSourceBytes(b"earlier")
    sha1 = demo.api.services.upload_manager.upload_part(demo.id_, started["fileId"], body, 1, large).result()[
        "contentSha1"
    ]

    finished = session.finish_large_file(started["fileId"], [sha1])

    assert finished["uploadTimestamp"] == started["uploadTimestamp"]
    assert demo.get_file_info_by_name("name").id_ == later.id_


def test_a_cancelled_large_file_leaves_no_bytes(
    b2: localb2.LocalB2, demo: v3.Bucket, tmp_path: pathlib.Path
) -> None:
    started = demo.api.session.start_large_file(demo.id_, "name", "video/mp4", {})
    large = v3.LargeFileUploadState(v3.DoNothingProgressListener())
    body = v3.UploadSourceBytes(b"some")
    demo.api.services.upload_manager.upload_part(demo.id_, started["fileId"], body, 1, large).result()
    assert [file.file_id for file in demo.list_unfinished_large_files()] == [started["fileId"]]
    assert [part.content_length for part in demo.api.list_parts(started["fileId"])] == [4]

    demo.api.cancel_large_file(started["fileId"])

    assert list(demo.list_unfinished_large_files()) == []
    assert list((tmp_path / "b2" / "bytes").iterdir()) == []


def test_ten_thousand_files_are_listed_once_each_over_pages(tmp_path: pathlib.Path) -> None:
    names = [f"{number % 7}/{number:05}.mp4" for number in range(10_003)]
    with localb2.serve(tmp_path) as b2:
        api = v3.B2Api(v3.InMemoryAccountInfo())
        api.authorize_account(b2.key_id, b2.key, b2.realm)
        bucket_id = api.get_bucket_by_name("watcher-demo").id_
    files = store.Store(tmp_path)
    for name in names:
        files.add(store.File(f"id-{name}", bucket_id, name, "upload", 0, None, "video/mp4", {}, 1))
    files.close()

    with localb2.serve(tmp_path) as b2:
        api = v3.B2Api(v3.InMemoryAccountInfo())
        api.authorize_account(b2.key_id, b2.key, b2.realm)
        pages, cursor = [], None
        while cursor is not None or not pages:
            page = api.session.list_file_names(bucket_id, cursor, 10_000)
            pages.append([file["fileName"] for file in page["files"]])
            cursor = page["nextFileName"]
        under_six = api.session.list_file_names(bucket_id, None, 10_000, "6/")["files"]

    assert [len(page) for page in pages] == [10_000, 3]
    assert [*pages[0], *pages[1]] == sorted(names)
    assert [file["fileName"] for file in under_six] == [
        name for name in sorted(names) if name.startswith("6/")
    ]


def test_what_was_answered_survives_a_kill(tmp_path: pathlib.Path) -> None:
    script = (
        "import pathlib, sys; from watcher import localb2\n"
        "with localb2.serve(pathlib.Path(sys.argv[1])) as b2: print(b2.realm, flush=True); input()"
    )
    root = pathlib.Path(localb2.__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "kept"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as server:
        assert server.stdout is not None
        realm = server.stdout.readline().strip()
        api = v3.B2Api(v3.InMemoryAccountInfo())
        api.authorize_account(localb2.KEY_ID, localb2.KEY, realm)
        api.create_bucket("another", "allPrivate")
        demo = api.get_bucket_by_name("watcher-demo")
        sent = demo.upload_bytes(b"kept", "name")
        started = api.session.start_large_file(demo.id_, "unfinished", "video/mp4", {})
        server.send_signal(signal.SIGKILL)
    (tmp_path / "kept" / "bytes" / "cut-off-upload").write_bytes(b"of which nobody was told")

    with localb2.serve(tmp_path / "kept") as b2:
        api = v3.B2Api(v3.InMemoryAccountInfo())
        api.authorize_account(b2.key_id, b2.key, b2.realm)
        assert {bucket.name for bucket in api.list_buckets()} == {"another", "watcher-demo"}
        demo = api.get_bucket_by_name("watcher-demo")
        assert api.download_file_by_id(sent.id_).response.content == b"kept"
        assert [file.file_id for file in demo.list_unfinished_large_files()] == [started["fileId"]]
    assert len(list((tmp_path / "kept" / "bytes").iterdir())) == 1


def test_a_second_server_on_the_same_folder_is_refused(b2: localb2.LocalB2, tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.Misconfigured, match="another localb2"), localb2.serve(tmp_path / "b2"):
        pass


def test_a_download_token_opens_its_prefix_only(demo: v3.Bucket, client: Client) -> None:
    demo.upload_bytes(b"yes", "public/a")
    demo.upload_bytes(b"no", "private/a")
    token = demo.get_download_authorization("public/", 60)

    assert client.ask("GET", "/file/watcher-demo/public/a", token=token)[::2] == (200, b"yes")
    assert client.ask("GET", f"/file/watcher-demo/public/a?Authorization={token}")[::2] == (200, b"yes")
    for path, wrong in [("private/a", token), ("public/a", token[:-1]), ("public/a", "3_"), ("public/a", "")]:
        status, _, body = client.ask("GET", f"/file/watcher-demo/{path}", token=wrong)
        assert (status, json.loads(body)["status"]) == (401, 401)


def test_a_restricted_key_sees_its_prefix_only(b2: localb2.LocalB2, demo: v3.Bucket) -> None:
    demo.upload_bytes(b"", "in/a")
    demo.upload_bytes(b"", "out/a")
    key = demo.api.create_key(
        ["listBuckets", "listFiles", "readFiles"], "reader", bucket_ids=[demo.id_], name_prefix="in/"
    )
    api = v3.B2Api(v3.InMemoryAccountInfo())
    api.authorize_account(key.id_, key.application_key, b2.realm)
    reader = api.get_bucket_by_name("watcher-demo")

    assert [version.file_name for version, _ in reader.ls("in/", recursive=True)] == ["in/a"]
    for forbidden in (
        lambda: list(reader.ls(recursive=True)),
        lambda: reader.download_file_by_name("out/a"),
        lambda: api.session.get_upload_url(reader.id_),
    ):
        with pytest.raises(exception.Unauthorized):
            forbidden()


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/b2api/v4/b2_list_file_names", b"not json", 400, "bad_request"),
        ("POST", "/b2api/v4/b2_list_file_names", b"[]", 400, "bad_json"),
        ("POST", "/b2api/v4/b2_list_file_names", b"{}", 400, "bad_request"),
        ("POST", "/b2api/v4/b2_list_file_names", b'{"bucketId": "none"}', 400, "bad_bucket_id"),
        ("POST", "/b2api/v4/b2_get_file_info", b'{"fileId": "none"}', 404, "not_found"),
        (
            "POST",
            "/b2api/v4/b2_delete_file_version",
            b'{"fileId": "1", "fileName": "a"}',
            400,
            "file_not_present",
        ),
        ("POST", "/b2api/v4/b2_cancel_large_file", b'{"fileId": "none"}', 400, "bad_request"),
        ("POST", "/b2api/v4/b2_no_such_call", b"{}", 404, "not_found"),
        ("POST", "/b2api/v4/b2_authorize_account", b"", 401, "unauthorized"),
        ("POST", "/b2api/v4/b2_upload_file/x/y", b"bytes", 401, "bad_auth_token"),
        ("GET", "/b2api/v4/b2_download_file_by_id?fileId=none", b"", 404, "not_found"),
        ("GET", "/file/no-such-bucket/name", b"", 404, "not_found"),
        ("GET", "/file/watcher-demo/%FF", b"", 400, "bad_request"),
        ("GET", "/", b"", 405, "method_not_allowed"),
    ],
)
def test_a_bad_request_gets_b2s_error_and_the_connection_goes_on(
    demo: v3.Bucket, client: Client, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    token = demo.api.account_info.get_account_auth_token()

    answer = client.ask(method, path, token=token, body=body)

    assert (answer[0], json.loads(answer[2])["code"]) == (status, code)
    assert (
        client.ask("POST", "/b2api/v4/b2_list_file_names", token="none", body=b'{"bucketId": ""}')[0] == 401
    )


def test_bytes_without_their_sha1_are_refused_and_not_kept(
    demo: v3.Bucket, client: Client, tmp_path: pathlib.Path
) -> None:
    target = demo.api.session.get_upload_url(demo.id_)
    headers = {"X-Bz-File-Name": "name", "Content-Type": "video/mp4", "X-Bz-Content-Sha1": "0" * 40}

    status, _, body = client.ask(
        "POST",
        urllib.parse.urlsplit(target["uploadUrl"]).path,
        token=target["authorizationToken"],
        body=b"other bytes",
        headers=headers,
    )

    assert (status, json.loads(body)["code"]) == (400, "bad_request")
    assert list((tmp_path / "b2" / "bytes").iterdir()) == []
