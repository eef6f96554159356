"""Watcher: a video dropped into a Backblaze B2 bucket plays seconds later."""

__version__ = "0.1.0"
