"""Settings: what is accepted, what is refused and how, and that secrets stay secret."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watcher import config, errors

B2 = {
    "B2_APPLICATION_KEY_ID": "0055555444433332222",
    "B2_APPLICATION_KEY": "K005-very-secret",
    "B2_BUCKET_NAME": "films",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment without any of our variables."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.upper() in config._variables():
            monkeypatch.delenv(name)
    return tmp_path


def _problems(environ: Mapping[str, str] | None = None, *, needs_b2: bool = True) -> list[str]:
    with pytest.raises(errors.Misconfigured) as caught:
        config.load(environ, needs_b2=needs_b2)
    return list(caught.value.problems)


def test_the_key_and_the_bucket_are_enough(folder: Path) -> None:
    settings = config.load(B2)

    assert settings.key.get_secret_value() == "K005-very-secret"
    assert (settings.bucket, settings.output_bucket) == ("films", "films")
    assert (settings.realm, settings.watch_prefix, settings.output_prefix) == (
        "production",
        "",
        "transcoded/",
    )
    assert settings.own_prefix == "transcoded/"
    assert settings.poll_interval == timedelta(seconds=10)
    assert settings.ladder == (720, 480, 360)
    assert 2 <= settings.seats <= 64
    assert settings.database_file == Path("watcher.db")
    assert settings.scratch == folder.resolve() / "watcher-scratch"
    assert settings.ffmpeg is None


def test_every_missing_variable_is_named_at_once() -> None:
    names = [problem.split(":")[0] for problem in _problems({"BUCKET_NAME": " "})]

    assert names == ["B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY", "B2_BUCKET_NAME"]


def test_a_command_that_needs_no_b2_gets_settings_without_a_key() -> None:
    assert config.load({}, needs_b2=False).bucket == ""


def test_all_kinds_of_problems_are_reported_together() -> None:
    bad = {
        "B2_APPLICATION_KEY_ID": "x",
        "B2_REALM": "produktion",
        "OUTPUT_PREFIX": "/",
        "POLL_SECONDS": "often",
        "SEATS": "0",
        "LADDER": "720,4320",
        "QUALITY": "best",
        "DATABASE_URL": "postgresql://watcher:hunter2@db/watcher",
        "FFMPEG": "/no/such/ffmpeg",
        "STALL_SECONDS": "nan",
        "LOG_LEVEL": "loud",
    }

    problems = _problems(bad)

    named = {problem.split(":")[0] for problem in problems}
    assert named == (bad.keys() - {"B2_APPLICATION_KEY_ID"}) | {"B2_APPLICATION_KEY", "B2_BUCKET_NAME"}
    assert all("\n" not in problem for problem in problems)
    assert "hunter2" not in " ".join(problems)


def test_secrets_show_in_no_form_of_the_settings() -> None:
    settings = config.load(B2)

    for text in (
        repr(settings),
        str(settings),
        repr(settings.model_dump()),
        settings.model_dump_json(exclude={"key_id"}),
    ):
        assert "very-secret" not in text
    assert "0055555444433332222" not in repr(settings)


def test_a_refused_value_cannot_write_to_the_terminal() -> None:
    [problem] = _problems({**B2, "QUALITY": "\x1b]0;owned\x07" + "x" * 999})

    assert problem.isprintable()
    assert len(problem) < 200


def test_the_older_name_of_the_bucket_is_accepted_and_the_newer_one_wins() -> None:
    key = {name: value for name, value in B2.items() if name != "B2_BUCKET_NAME"}

    assert config.load({**key, "BUCKET_NAME": "old"}).bucket == "old"
    assert config.load({**B2, "BUCKET_NAME": "old"}).bucket == "films"


def test_the_environment_wins_over_the_file_and_an_empty_value_is_no_value(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"{name}={value}" for name, value in B2.items()]
    (folder / ".env").write_text("\n".join([*lines, "POLL_SECONDS='3'", "SEATS=5", "QUALITY=", "OTHER=1"]))
    monkeypatch.setenv("SEATS", "7")
    monkeypatch.setenv("POLL_SECONDS", "")

    settings = config.load()

    assert settings.bucket == "films"
    assert (settings.seats, settings.poll_interval, settings.quality) == (7, timedelta(seconds=3), "balanced")


def test_a_file_that_an_editor_on_windows_saved_is_read(folder: Path) -> None:
    text = "".join(f"{name}={value}\r\n" for name, value in B2.items())
    (folder / ".env").write_bytes(b"\xef\xbb\xbf" + text.encode())

    assert config.load().key_id == B2["B2_APPLICATION_KEY_ID"]


def test_a_file_that_is_no_text_is_a_problem(folder: Path) -> None:
    (folder / ".env").write_bytes(b"\xff\xfe\x00garbage")

    assert _problems(needs_b2=False) == [
        ".env: is not UTF-8 text: save it as UTF-8, or fill in a new copy of .env.example"
    ]


def test_a_folder_in_place_of_the_file_is_a_problem(folder: Path) -> None:
    (folder / ".env").mkdir()

    assert _problems(needs_b2=False) == [".env: cannot be read: Is a directory"]


def test_a_line_that_sets_nothing_is_a_problem_and_is_not_shown(folder: Path) -> None:
    (folder / ".env").write_text('QUALITY=fast\nB2_APPLICATION_KEY="K005-very-secret\nSEATS=none\n')

    problems = _problems(needs_b2=False)

    assert problems[0] == ".env: line 2 is not NAME=value, or a quote is not closed"
    assert "very-secret" not in " ".join(problems)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("POLL_SECOND", "POLL_SECONDS"),
        ("B2_APPLICATON_KEY", "B2_APPLICATION_KEY"),
        ("B2_BUKCET_NAME", "B2_BUCKET_NAME"),
        ("SEAT", "SEATS"),
    ],
)
def test_a_mistyped_variable_in_the_file_is_reported(folder: Path, written: str, meant: str) -> None:
    (folder / ".env").write_text(f"\n{written}=3\n")

    assert _problems(needs_b2=False) == [f"{written}: in .env, line 2: did you mean {meant}?"]


@pytest.mark.parametrize(
    "other",
    [
        "B2_ENDPOINT_URL",
        "B2_REGION",
        "B2_APPLICATION_KEY_NAME",
        "S3_BUCKET_NAME",
        "AWS_BUCKET_NAME",
        "LOG_FILE",
        "SECRET_KEY",
    ],
)
def test_a_variable_of_another_program_is_left_alone(folder: Path, other: str) -> None:
    (folder / ".env").write_text(f"{other}=x\n")

    config.load(needs_b2=False)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("out", "out/"), ("/out/", "out/"), ("a b/c", "a b/c/")],
)
def test_the_output_prefix_is_a_folder(written: str, meant: str) -> None:
    assert config.load({**B2, "OUTPUT_PREFIX": written}).output_prefix == meant


@pytest.mark.parametrize("prefix", ["a//b", "../x", "a\\b", "a\nb", "x" * 201])
def test_a_prefix_that_no_name_in_b2_can_have_is_refused(prefix: str) -> None:
    [problem] = _problems({**B2, "OUTPUT_PREFIX": prefix})

    assert problem.startswith("OUTPUT_PREFIX: ")


def test_outputs_may_go_to_the_top_of_another_bucket_only() -> None:
    apart = {**B2, "OUTPUT_PREFIX": "/", "OUTPUT_BUCKET_NAME": "plays"}

    assert config.load(apart).output_prefix == ""
    assert config.load(apart).own_prefix is None
    assert _problems({**apart, "OUTPUT_BUCKET_NAME": "films"})[0].startswith("OUTPUT_PREFIX: is empty")


def test_a_watched_folder_inside_the_output_folder_is_refused_in_one_bucket_only() -> None:
    inside = {**B2, "OUTPUT_PREFIX": "out", "WATCH_PREFIX": "out/new/"}

    assert _problems(inside)[0].startswith("WATCH_PREFIX: 'out/new/' lies inside OUTPUT_PREFIX ('out/')")
    assert config.load({**inside, "OUTPUT_BUCKET_NAME": "plays"}).watch_prefix == "out/new/"
    assert config.load({**inside, "WATCH_PREFIX": "outdoor/"}).watch_prefix == "outdoor/"


def test_the_ladder_is_sorted_from_the_highest_and_holds_nothing_twice() -> None:
    assert config.load({**B2, "LADDER": " 480, 1080,480 "}).ladder == (1080, 480)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "https://api.example.com"])
def test_a_realm_may_be_a_server_of_ones_own(url: str) -> None:
    assert config.load({**B2, "B2_REALM": url}).realm == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["ftp://x", "http://", "http://x:port", "http://key:hunter2@x", "staging server"]
)
def test_any_other_realm_is_refused(url: str) -> None:
    [problem] = _problems({**B2, "B2_REALM": url})

    assert "hunter2" not in problem


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "watcher.db", "mysql://u:hunter2@h/d"]
)
def test_a_database_other_than_a_sqlite_file_is_refused(url: str) -> None:
    [problem] = _problems({**B2, "DATABASE_URL": url})

    assert problem == (
        "DATABASE_URL: only a SQLite file works for now: write sqlite:///FILE, such as sqlite:///watcher.db"
    )


@pytest.mark.parametrize("place", ["/", "~", ".", "film.mov"])
def test_a_scratch_folder_that_holds_other_things_is_refused(folder: Path, place: str) -> None:
    (folder / "film.mov").touch()

    [problem] = _problems({**B2, "SCRATCH_DIR": place})

    assert problem.startswith("SCRATCH_DIR: ")


def test_the_users_own_ffmpeg_must_be_executable(folder: Path) -> None:
    program = folder / "my ffmpeg"
    program.touch(mode=0o644)
    assert _problems({**B2, "FFMPEG": "./my ffmpeg"})[0].startswith(
        "FFMPEG: './my ffmpeg' is not an executable"
    )

    program.chmod(0o755)

    assert config.load({**B2, "FFMPEG": "./my ffmpeg"}).ffmpeg == program


@given(st.dictionaries(st.sampled_from(sorted(config._variables())), st.text(max_size=20)))
def test_any_values_give_settings_or_problems_that_name_variables(environ: dict[str, str]) -> None:
    problems: tuple[str, ...] = ()
    try:
        config.load(environ)
    except errors.Misconfigured as error:
        problems = error.problems

    assert {problem.split(":")[0] for problem in problems} <= config._variables()


def test_every_setting_is_explained_in_the_example_file() -> None:
    example = (Path(__file__).parent.parent / ".env.example").read_text(encoding="utf-8")

    explained = {line.lstrip("# ").split("=")[0] for line in example.splitlines() if "=" in line}
    assert explained == config._variables() - {"BUCKET_NAME"}
