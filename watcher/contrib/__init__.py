"""Watcher inside other people's programs. Each folder is for one framework and needs nothing else of Watcher."""
