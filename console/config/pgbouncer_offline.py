"""What stands for SHOW CONFIG where no process answers: the settings that a version knows.

Only good for judging files that a process is to be started with. Defaults are known of the few that decide
which other files are read; distributions patch the others, so they are left open. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

from console.config.pgbouncer_settings import GONE_SINCE, KINDS, SINCE
from console.model.rows import Setting
from console.model.version import Version

KNOWN_BELOW = Version(1, 27)
"""Later versions may know settings that are not in our tables."""
_TLS_PREFERRED = Version(1, 20)


def settings_of(version: Version) -> Mapping[str, Setting] | None:
    """Return the settings that `version` knows, each with its default or ""; None: not known of it."""
    if version >= KNOWN_BELOW:
        return None
    defaults = {
        "auth_type": "md5",
        "client_tls_sslmode": "disable",
        "server_tls_sslmode": "prefer" if version >= _TLS_PREFERRED else "disable",
    }
    return {
        key: Setting(key, defaults.get(key, ""), defaults.get(key), None)
        for key in KINDS
        if version >= SINCE.get(key, version) and not (key in GONE_SINCE and version >= GONE_SINCE[key])
    }
