"""The settings: what they are called, what they may be, and every problem with them at once.

The only module that reads the environment, or `.env` in the current folder. Knows nothing of what the values
are used for, beyond the relations between them that would do harm.
"""

import os
import shutil
import urllib.parse
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, ValidationInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from watcher import envfile, errors

DOTENV = Path(".env")

_REQUIRED_FOR_B2 = ("B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY", "B2_BUCKET_NAME")
# Fields whose variable is not just their name in capitals.
_ELSEWHERE = {
    "key_id": "B2_APPLICATION_KEY_ID",
    "key": "B2_APPLICATION_KEY",
    "bucket": "B2_BUCKET_NAME",
    "realm": "B2_REALM",
    "output_bucket": "OUTPUT_BUCKET_NAME",
    "scratch": "SCRATCH_DIR",
    "poll_interval": "POLL_SECONDS",
    "lease": "LEASE_SECONDS",
    "stall_timeout": "STALL_SECONDS",
    "drain_timeout": "DRAIN_SECONDS",
    "max_duration": "MAX_DURATION_SECONDS",
    "max_step": "MAX_STEP_SECONDS",
}
_OLDER_BUCKET_NAME = "BUCKET_NAME"
_SECRET = frozenset({"B2_APPLICATION_KEY_ID", "B2_APPLICATION_KEY", "DATABASE_URL", "WEB_TOKEN"})
_SQLITE = "sqlite:///"
_PREFIX_BYTES = 200  # of the 1,024 that B2 allows a name: the rest is for the source's name and ours below it
_TOKEN_CHARACTERS = 16  # 64 bits even of hexadecimal digits: no guessing over a network gets through these
# What streaming services and broadcasters ask for lies between -24 and -14; beyond these a sign is missing.
QUIETEST_LUFS, LOUDEST_LUFS = -31.0, -9.0
_SHOWN_CHARACTERS = 60  # of a refused value: enough to recognise it


def load(environ: Mapping[str, str] | None = None, *, needs_b2: bool = True) -> "Settings":
    """Return the settings, or raise Misconfigured with one line for every problem; no line shows a secret.

    They come from the environment and, where that has no value, from `.env`; or from `environ` alone.
    An empty value counts as none. Without `needs_b2` the key and the bucket may be missing (empty).
    """
    if environ is None:
        written, problems, is_readable = envfile.read(DOTENV, known=_variables())
        given = {**written, **{name: value for name, value in os.environ.items() if value}}
    else:
        problems, is_readable = [], False
        given = {name: value for name, value in environ.items() if value}

    if needs_b2:
        problems += [f"{name}: is not set, and nothing can be done without it" for name in _missing(given)]
    settings = None
    try:
        if environ is None:
            settings = Settings(_env_file=DOTENV if is_readable else None)
        else:
            settings = _Given(**_only_known(given))
    except pydantic.ValidationError as error:
        problems += [_problem(details) for details in error.errors(include_url=False)]
    if problems or settings is None:
        raise errors.Misconfigured(problems)
    return settings


def notify_socket() -> str | None:
    """Return the address of the service manager's socket; None where there is no such manager."""
    return os.environ.get("NOTIFY_SOCKET") or None


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


def _lowered(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _seconds(low: float, high: float) -> BeforeValidator:
    def check(value: object) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = float("nan")
        if not low <= seconds <= high:  # never true of nan
            raise ValueError(f"{_shown(value)} is not a number of seconds from {low:g} to {high:g}")
        return timedelta(seconds=seconds)

    return BeforeValidator(check)


def _prefix(value: str) -> str:
    prefix = value.lstrip("/")  # no name in B2 starts with one
    if "//" in prefix or "\\" in prefix or not prefix.isprintable():
        raise ValueError(
            f"{_shown(value)} holds '//', a backslash or a control character, as no name in B2 does"
        )
    if len(prefix.encode()) > _PREFIX_BYTES:
        raise ValueError(f"{_shown(value)} is longer than {_PREFIX_BYTES} bytes")
    return prefix


def _folder_prefix(value: str) -> str:
    prefix = _prefix(value)
    if {".", ".."} & set(prefix.split("/")):
        raise ValueError(f"{_shown(value)} has '.' or '..' between its slashes: name a real folder")
    return prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _realm(value: str) -> str:
    if value.lower() == "production":
        return "production"
    try:
        parts = urllib.parse.urlsplit(value)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or "@" in value or "?" in value or "#" in value:  # not shown: it may hold a password
        raise ValueError("is neither 'production' nor a plain URL such as http://127.0.0.1:9000")
    return value.rstrip("/")


def _database(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    file = url.removeprefix(_SQLITE)
    if file == url or file in {"", ":memory:"} or "?" in file:
        raise ValueError(
            f"only a SQLite file works for now: write {_SQLITE}FILE, such as {_SQLITE}watcher.db"
        )
    return value


def _web_token(value: SecretStr) -> SecretStr:
    token = value.get_secret_value()
    if len(token) < _TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
        raise ValueError(
            f"needs at least {_TOKEN_CHARACTERS} plain characters: take what `openssl rand -hex 16` prints"
        )
    return value


def _heights(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return sorted({int(height) for height in value.split(",")}, reverse=True)
    except ValueError:
        raise ValueError(f"{_shown(value)} is not a list of heights such as 720,480") from None


def _loudness(value: object) -> object:
    if value is None or isinstance(value, float):
        return value
    text = str(value).strip().lower()
    if text in ("off", "no"):
        return None
    try:
        lufs = float(text)
    except ValueError:
        lufs = float("nan")
    if not QUIETEST_LUFS <= lufs <= LOUDEST_LUFS:  # never true of nan
        raise ValueError(
            f"{_shown(value)} is neither off nor a loudness in LUFS from {QUIETEST_LUFS:g} to {LOUDEST_LUFS:g}"
        )
    return lufs


def _own_folder(value: Path) -> Path:
    try:
        folder = value.expanduser().resolve()
        taken = {Path(folder.anchor), Path.home().resolve(), Path.cwd()}
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{_shown(value)} cannot be looked up: {error}") from error
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{_shown(value)} is not a folder")
    if folder in taken:
        raise ValueError(
            f"{_shown(value)} would be emptied of what a crash left: give Watcher a folder of its own"
        )
    return folder


def _program(value: str) -> Path:
    found = shutil.which(os.path.expanduser(value))  # noqa: PTH111 (a Path would turn ./ffmpeg into ffmpeg)
    if found is None:
        raise ValueError(
            f"{_shown(value)} is not an executable file; without FFMPEG, Watcher uses its own ffmpeg"
        )
    return Path(found).absolute()


def _seats() -> int:
    """Return a quarter of the cores: one ffmpeg keeps about four busy when it decodes, scales and encodes."""
    return min(max(2, cores() // 4), 64)


_Text = Annotated[str, BeforeValidator(_stripped)]
_Secret = Annotated[SecretStr, BeforeValidator(_stripped)]


class Settings(BaseSettings):
    """Every setting, checked. Each is read from the variable of its name in capitals, or see `_ELSEWHERE`."""

    model_config = SettingsConfigDict(
        alias_generator=lambda field: _ELSEWHERE.get(field, field.upper()),
        env_file_encoding="utf-8-sig",  # editors on Windows put a byte order mark first
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        validate_default=True,
    )

    # Empty only where `load` was told that B2 is not needed.
    key_id: _Text = Field("", repr=False)
    key: _Secret = SecretStr("")
    bucket: _Text = Field("", validation_alias=AliasChoices(_ELSEWHERE["bucket"], _OLDER_BUCKET_NAME))
    realm: Annotated[_Text, AfterValidator(_realm)] = "production"

    output_bucket: _Text = ""  # the source bucket's name where none was given
    output_prefix: Annotated[str, AfterValidator(_folder_prefix)] = "transcoded/"
    watch_prefix: Annotated[str, AfterValidator(_prefix)] = ""

    database_url: Annotated[_Secret, AfterValidator(_database)] = SecretStr(f"{_SQLITE}watcher.db")
    scratch: Annotated[Path, AfterValidator(_own_folder)] = Path("watcher-scratch")
    ffmpeg: Annotated[Path, BeforeValidator(_program)] | None = None

    ladder: Annotated[
        tuple[Annotated[int, Field(ge=144, le=2160)], ...], NoDecode, BeforeValidator(_heights)
    ] = (720, 480, 360)
    quality: Annotated[Literal["fast", "balanced", "small"], BeforeValidator(_lowered)] = "balanced"

    loudness: Annotated[float | None, BeforeValidator(_loudness)] = None
    salvage: Annotated[bool, BeforeValidator(_lowered)] = False

    seats: int = Field(default_factory=_seats, ge=1, le=64)
    max_attempts: int = Field(4, ge=1, le=100)
    # A day at most: above it, a mistyped number is likelier than a wish. Five seconds at least for what
    # decides that work is dead: a busy disk takes as long while all is well.
    poll_interval: Annotated[timedelta, _seconds(0.2, 86_400)] = timedelta(seconds=10)
    lease: Annotated[timedelta, _seconds(5, 86_400)] = timedelta(seconds=60)
    stall_timeout: Annotated[timedelta, _seconds(5, 86_400)] = timedelta(seconds=120)
    drain_timeout: Annotated[timedelta, _seconds(0, 86_400)] = timedelta(seconds=30)

    # What one upload may cost. The least values are what ordinary videos need.
    max_pixels: int = Field(40_000_000, ge=1_000_000, le=1_000_000_000)
    max_streams: int = Field(64, ge=2, le=1000)
    max_duration: Annotated[timedelta, _seconds(1, 31_536_000)] = timedelta(days=1)
    max_memory_mb: int = Field(4096, ge=1024, le=1_048_576)
    max_output_mb: int = Field(100_000, ge=100, le=100_000_000)
    max_cpu_per_second: float = Field(60, ge=1, le=100_000)
    max_step: Annotated[timedelta, _seconds(60, 31_536_000)] = timedelta(days=1)
    confine: Annotated[Literal["auto", "no"], BeforeValidator(_lowered)] = "auto"

    web_host: _Text = "127.0.0.1"
    web_port: int = Field(8080, ge=1, le=65_535)
    web_token: Annotated[_Secret, AfterValidator(_web_token)] | None = None

    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lowered)] = "info"
    log_format: Annotated[Literal["auto", "human", "json"], BeforeValidator(_lowered)] = "auto"

    @property
    def own_prefix(self) -> str | None:
        """The output prefix where outputs go to the watched bucket, else None."""
        return self.output_prefix if self.output_bucket == self.bucket else None

    @property
    def database_file(self) -> Path:
        """The SQLite file that `database_url` names."""
        return Path(urllib.parse.unquote(self.database_url.get_secret_value().removeprefix(_SQLITE)))

    # A relation is checked with the later of its fields, so that it is reported along with everything else.

    @pydantic.field_validator("output_bucket")
    @classmethod
    def _source_bucket_by_default(cls, value: str, info: ValidationInfo) -> str:
        return value or str(info.data.get("bucket", ""))

    @pydantic.field_validator("output_prefix")
    @classmethod
    def _outputs_apart_from_sources(cls, value: str, info: ValidationInfo) -> str:
        if not value and _is_one_bucket(info):
            raise ValueError(
                "is empty, so outputs would mix with sources: name a folder, or set OUTPUT_BUCKET_NAME"
            )
        return value

    @pydantic.field_validator("watch_prefix")
    @classmethod
    def _sources_apart_from_outputs(cls, value: str, info: ValidationInfo) -> str:
        outputs = info.data.get("output_prefix")
        if outputs and value.startswith(outputs) and _is_one_bucket(info):
            raise ValueError(
                f"{_shown(value)} lies inside OUTPUT_PREFIX ({_shown(outputs)}), where every object is taken"
                " for an output and left alone: watch or write elsewhere"
            )
        return value


class _Given(Settings):
    """Settings from what the caller passes and nowhere else."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def _variables() -> frozenset[str]:
    own = {_ELSEWHERE.get(field, field.upper()) for field in Settings.model_fields}
    return frozenset(own | {_OLDER_BUCKET_NAME})


def _only_known(given: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name in _variables()}


def _is_one_bucket(info: ValidationInfo) -> bool:
    return info.data.get("output_bucket") == info.data.get("bucket")


def _missing(given: Mapping[str, str]) -> list[str]:
    present = {name.upper() for name, value in given.items() if value.strip()}
    if _OLDER_BUCKET_NAME in present:
        present.add("B2_BUCKET_NAME")
    return [name for name in _REQUIRED_FOR_B2 if name not in present]


def _problem(details: ErrorDetails) -> str:
    name = str(details["loc"][0]).upper()
    if details["type"] == "value_error":
        return f"{name}: {details['ctx']['error']}"
    if name in _SECRET:
        return f"{name}: {details['msg']}"
    return f"{name}: {_shown(details['input'])}: {details['msg'][0].lower()}{details['msg'][1:]}"


def _shown(value: object) -> str:
    text = ascii(str(value))
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 4]}...'"
