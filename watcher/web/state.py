"""What every request of the application shares; handed to routes with `fastapi.Depends`."""

import fastapi
from sqlalchemy.engine import Engine

from watcher import config, stats
from watcher.web import playback


def readings(request: fastapi.Request) -> Engine:
    """Return the table, open for reading only."""
    engine: Engine = request.app.state.readings
    return engine


def settings(request: fastapi.Request) -> config.Settings:
    """Return the settings that the application was made with."""
    found: config.Settings = request.app.state.settings
    return found


def tally(request: fastapi.Request) -> stats.Tally:
    """Return the numbers of videos by state, which are not counted anew for each request."""
    found: stats.Tally = request.app.state.tally
    return found


def player(request: fastapi.Request) -> playback.Playback:
    """Return the way to what can be played."""
    found: playback.Playback = request.app.state.player
    return found
