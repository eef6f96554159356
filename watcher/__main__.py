"""`python -m watcher` is the `watcher` command."""

from watcher import cli

cli.main()
