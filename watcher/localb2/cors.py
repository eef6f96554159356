"""B2's CORS rules: which pages of other origins may read a bucket's files. Pure."""

import re
from collections.abc import Mapping, Sequence

from watcher.localb2.form import JSON

# What `serve` gives the buckets it makes: any page may play from them, as a laptop's trials need.
FOR_ANY_PAGE: JSON = {
    "corsRuleName": "any-page-may-play",
    "allowedOrigins": ["*"],
    "allowedOperations": ["b2_download_file_by_name"],
    "allowedHeaders": ["range"],
    "exposeHeaders": ["content-range"],
    "maxAgeSeconds": 3600,
}


def answer(rules: Sequence[JSON] | None, operation: str, asked: Mapping[str, str]) -> dict[str, str] | None:
    """Return the headers that let a browser have what the request headers `asked` for; None if no rule does."""
    origin = asked.get("Origin") or ""
    wanted = _words(asked.get("Access-Control-Request-Headers") or "")
    for rule in rules or ():
        if operation not in rule["allowedOperations"]:
            continue
        if not any(_matches(pattern, origin) for pattern in rule["allowedOrigins"]):
            continue
        allowed = rule.get("allowedHeaders") or []
        if not all(any(_matches(one.lower(), name) for one in allowed) for name in wanted):
            continue
        headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        if "Access-Control-Request-Method" in asked:
            headers["Access-Control-Allow-Methods"] = "GET, HEAD"
            headers["Access-Control-Allow-Headers"] = ", ".join(wanted)
            headers["Access-Control-Max-Age"] = str(rule["maxAgeSeconds"])
        elif exposed := rule.get("exposeHeaders"):
            headers["Access-Control-Expose-Headers"] = ", ".join(exposed)
        return headers
    return None


def _matches(pattern: str, value: str) -> bool:
    """Whether `value` fits a pattern with stars; a bare scheme stands for all of its origins."""
    if pattern in ("http", "https"):
        pattern += "://*"
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), value) is not None


def _words(header: str) -> list[str]:
    return [word.strip().lower() for word in header.split(",") if word.strip()]
