"""The JSON API: what programs are told, and that nothing they ask makes it fail."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crowd
import hypothesis
import pytest
import requests
import schemathesis
from serving import served

from watcher import config, contract, database

VIDEOS = 400
TOKEN = "let-me-in-0123456789"
HOSTILE = "a<script>alert(1)</script>\u202e\u0627\u0644\ud83c\udfac'\"&%00 \\.mov"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> config.Settings:
    """Those of a table with some hundred videos, one of them with a hostile name."""
    folder = tmp_path_factory.mktemp("api")
    url = f"sqlite:///{folder}/watcher.db"
    writer = database.open_for_writing(url)
    database.upgrade(writer)
    crowd.fill(writer, VIDEOS)
    with writer.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE videos SET name = ? WHERE id = 7",
            (HOSTILE.encode("utf-16", "surrogatepass").decode("utf-16"),),
        )
        connection.exec_driver_sql("INSERT INTO transactions VALUES ('2026-01-01', 'C', 12)")
        connection.exec_driver_sql(
            "INSERT INTO scans VALUES ('bucket', 'uploads/', 9, NULL, '2026-01-01T00:00:00.000000Z', 0, 400)"
        )
    writer.dispose()
    return config.load({"DATABASE_URL": url, "WEB_TOKEN": TOKEN}, needs_b2=False)


@pytest.fixture(scope="module")
def base(settings: config.Settings) -> Iterator[str]:
    with served(settings) as url:
        yield url


def _get(base: str, path: str, **asked: Any) -> requests.Response:
    return requests.get(
        f"{base}{path}", params=asked, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
    )


def test_pages_lead_through_all_videos_with_the_columns_of_the_view(base: str) -> None:
    first = _get(base, "/api/v1/videos", limit=150).json()
    assert [tuple(video) for video in first["videos"]] == [contract.NAMES] * 150
    ids, before = [video["id"] for video in first["videos"]], first["next"]
    while before is not None:
        page = _get(base, "/api/v1/videos", limit=150, before=before).json()
        ids += [video["id"] for video in page["videos"]]
        before = page["next"]
    assert ids == list(range(VIDEOS, 0, -1))


def test_videos_are_filtered_by_state_name_and_part_of_the_name(base: str) -> None:
    failed = _get(base, "/api/v1/videos", status="failed").json()["videos"]
    assert {video["status"] for video in failed} == {"failed"}
    found = _get(base, "/api/v1/videos", search="holiday-10.").json()["videos"]
    assert [video["name"] for video in found] == ["uploads/0010/Holiday-10.mov"]
    for key in ("name", "file_id"):
        again = _get(base, "/api/v1/videos", **{key: found[0][key]}).json()["videos"]
        assert again == found


def test_times_are_utc_and_absent_things_are_null(base: str) -> None:
    done = _get(base, "/api/v1/videos", status="completed", limit=1).json()["videos"][0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", done["completed_at"])
    waiting = _get(base, "/api/v1/videos", status="pending", limit=1).json()["videos"][0]
    assert (waiting["completed_at"], waiting["mp4"], waiting["width"]) == (None, None, None)


def test_one_video_comes_with_its_outputs_but_no_parts(base: str) -> None:
    video = _get(base, "/api/v1/videos/10").json()
    assert {output["kind"] for output in video["outputs"]} == {"hls", "playlist", "mp4", "poster"}
    assert video["mp4"] in {output["name"] for output in video["outputs"]}
    running = _get(base, "/api/v1/videos", status="running").json()["videos"][0]["id"]
    assert _get(base, f"/api/v1/videos/{running}").json()["doing"] == ["video"]


def test_a_story_is_told_in_pieces(base: str) -> None:
    first = _get(base, "/api/v1/videos/1/events", limit=3).json()
    assert [event["what"] for event in first["events"]] == ["discovered", "started", "finished"]
    rest = _get(base, "/api/v1/videos/1/events", limit=3, after=first["next"]).json()
    assert [event["what"] for event in rest["events"]] == ["failed"]
    assert rest["next"] is None


def test_the_status_adds_up(base: str, settings: config.Settings) -> None:
    status = _get(base, "/api/v1/status").json()
    assert sum(status["videos"].values()) == VIDEOS
    assert sum(status["errors"].values()) == status["videos"]["failed"]
    assert status["queue"]["running"] == len(status["running"]) == 1
    assert status["running"][0]["progress"] == 0.5
    assert status["listings"] == [
        {"prefix": "uploads/", "sweeps": 9, "swept_at": "2026-01-01T00:00:00.000000Z", "objects": 400}
    ]
    assert status["pauses"] == []
    assert status["contract"] == contract.VERSION


def test_a_hostile_name_comes_through_as_it_is(base: str) -> None:
    answer = _get(base, "/api/v1/videos/7")
    assert answer.json()["name"].startswith("a<script>")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/videos/99999", 404), ("/api/v1/videos/99999/events", 404), ("/api/v1/videos/x", 422),
        (f"/api/v1/videos/{2**63}", 422), ("/api/v1/videos?limit=0", 422), ("/api/v1/videos?limit=201", 422),
        ("/api/v1/videos?status=odd", 422), ("/api/v1/nothing", 404),
    ],
)  # fmt: skip
def test_an_error_says_in_json_what_is_wrong(base: str, path: str, status: int) -> None:
    answer = _get(base, path)
    assert answer.status_code == status
    assert isinstance(answer.json()["detail"], str)


def test_an_error_says_what_would_be_right(base: str) -> None:
    assert "limit: Input should be less than or equal to 200" in _get(base, "/api/v1/videos?limit=201").text
    assert "'pending', 'running'" in _get(base, "/api/v1/videos?status=odd").text
    assert "/api/v1/videos lists them" in _get(base, "/api/v1/videos/99999").text


def test_without_the_token_nothing_is_told(base: str) -> None:
    for path in ("/api/v1/videos", "/api/v1/status", "/api/v1/openapi.json", "/metrics"):
        assert requests.get(f"{base}{path}", timeout=60).status_code == 401


def test_nothing_can_be_written(base: str) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = requests.request(
            method, f"{base}/api/v1/videos/1", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
        )
        assert answer.status_code == 405


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_whatever_is_asked_the_answer_is_no_failure_of_ours(
    base: str, mode: schemathesis.GenerationMode
) -> None:
    token = {"Authorization": f"Bearer {TOKEN}"}
    schema = schemathesis.openapi.from_url(f"{base}/api/v1/openapi.json", headers=token)
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) == 4
    for operation in operations:
        if mode == schemathesis.GenerationMode.NEGATIVE and not list(operation.iter_parameters()):
            continue  # what takes nothing cannot be asked wrongly

        @hypothesis.given(case=operation.as_strategy(mode))
        @hypothesis.settings(
            max_examples=50,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(headers=token)
            assert answer.status_code < 500
            if mode == schemathesis.GenerationMode.POSITIVE:
                case.validate_response(answer)  # it is what the description promises

        ask()


def test_a_probe_is_answered_without_a_token_and_learns_little(base: str) -> None:
    assert requests.get(f"{base}/healthz", timeout=60).text == "alive\n"
    assert requests.get(f"{base}/readyz", timeout=60).text == "ready\n"


def test_it_is_alive_and_not_ready_while_the_database_is_of_another_version(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/watcher.db"
    writer = database.open_for_writing(url)
    database.upgrade(writer)
    with served(config.load({"DATABASE_URL": url}, needs_b2=False)) as base:
        with writer.begin() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        ready = requests.get(f"{base}/readyz", timeout=60)
        assert (ready.status_code, "another Watcher" in ready.text) == (503, True)
        assert requests.get(f"{base}/healthz", timeout=60).status_code == 200
    writer.dispose()
