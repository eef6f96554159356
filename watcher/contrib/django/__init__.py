"""A Django app over the contract (`watcher.contract`): what was uploaded, how far it is, and a player for it.

Needs Django 4.2 or newer and nothing else of Watcher: `pip install --no-deps watcher` is enough in a site. Settings:

`DATABASES["watcher"]`        the status table; `NAME` such as `file:/srv/watcher/watcher.db?mode=ro`
`DATABASE_ROUTERS`            has `watcher.contrib.django.router.Router`
`STORAGES["watcher"]`         the output bucket from its root; without it, the default storage
`WATCHER_MAY_WATCH`           dotted path of a function of (request, video) that says who may play and ask; without
                              it, every user who is logged in
"""
