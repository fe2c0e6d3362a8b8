"""Symbolic links in directories that come from a host: another task may send what they lead to."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from luigi_sshjob.errors import RemoteCommandFailed


def check_confined(links: Iterable[tuple[str, str]], directories: Collection[str]) -> None:
    """Raises `RemoteCommandFailed` for a link that leads outside, by names alone.

    `links` are names below the root with their targets, and `directories` the names of real directories there, with ""
    for the root. Links on the way of a link are checked on their own.
    """
    for name, target in links:
        *place, _ = name.split("/")
        inside = not target.startswith("/")
        for part in target.split("/"):
            if part == "..":
                # after a link, or a name that does not exist, it may lead anywhere
                inside = inside and place != [] and "/".join(place) in directories
                del place[-1:]
            elif part not in ("", "."):
                place.append(part)
        if not inside:
            raise RemoteCommandFailed(
                f"a symbolic link leads outside of its directory: {name!r} -> {target!r}",
                cmd="send_tree",
                next_step="let the job make copies, or relative links inside of the directory; `get` keeps any link",
            )
