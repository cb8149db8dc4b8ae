"""Judges what the settings of a PgBouncer name: auth_file, HBA file, TLS files; and who would be locked out.

RELOAD answers success whatever is wrong with auth_file or HBA file (seen on 1.18, 1.24 and 1.26), so nothing
but reading them beforehand tells. Pure; see `pgbouncer_lint` for what a finding is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from console.config.pgbouncer_auth import AuthFile, read_auth_file
from console.config.pgbouncer_expect import Expected
from console.config.pgbouncer_hba import read_hba_file
from console.config.pgbouncer_lint import Finding, IniLint, Severity, lint_ini
from console.config.pgbouncer_texts import ConfigTexts, HostFile, Trouble, scan
from console.model.rows import Setting
from console.model.version import Version

_NO_AUTH_FILE = frozenset({"any", "pam"})
"""`requires_auth_file` of main.c."""
_PASSWORD_TYPES = frozenset({"plain", "md5", "scram-sha-256"})
_IDENT_SINCE = Version(1, 23)
_RELATIVE_INCLUDE = re.compile(rb"(?m)^\s*%include[ \t]+[^/\s]")
_CLIENT_FILES = ("client_tls_key_file", "client_tls_cert_file", "client_tls_ca_file")
_SERVER_FILES = ("server_tls_key_file", "server_tls_cert_file", "server_tls_ca_file")


@dataclass(frozen=True, slots=True)
class Lint:
    """Everything found, worst first, then in the order of files and lines."""

    findings: tuple[Finding, ...]
    expected: Expected
    """Meaningless when there are errors, or files that were not read."""
    users: AuthFile | None
    """None: there is no auth_file, or it could not be read."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What makes RELOAD fail, or locks somebody out."""
        return self._of(Severity.ERROR)

    @property
    def unread(self) -> tuple[Finding, ...]:
        """What could not be judged."""
        return self._of(Severity.UNREAD)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What is odd."""
        return self._of(Severity.WARNING)

    def _of(self, severity: Severity) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity is severity)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What has to be read next to judge a configuration."""

    files: tuple[str, ...]
    """Absolute paths whose content is needed."""
    looks: tuple[str, ...]
    """Absolute paths of which only the presence counts."""


def wanted(texts: ConfigTexts, running: Mapping[str, Setting], version: Version) -> Wanted:
    """Return what is still missing; ask again once it was read, since a file may name further ones."""
    if texts.root not in texts.files:
        return Wanted((texts.root,), ())
    _, includes = scan(texts)
    if includes:
        return Wanted(includes, ())
    settings = _effective(lint_ini(texts, running, version).expected)
    files = [texts.absolute(settings[key]) for key in _read_by(settings, version)]
    looks = [texts.absolute(settings[key]) for key in _tls_files(settings)]
    return Wanted(
        tuple(dict.fromkeys(path for path in files if path not in texts.files)),
        tuple(dict.fromkeys(path for path in looks if path not in texts.looked_for)),
    )


def lint(
    texts: ConfigTexts,
    running: Mapping[str, Setting],
    version: Version,
    *,
    admin_user: str | None = None,
    monitor_user: str | None = None,
) -> Lint:
    """Judge everything that a RELOAD of these files would read.

    Args:
        texts: what was read; `wanted` says what belongs in it.
        running: SHOW CONFIG of the process: the settings it knows, their values and defaults.
        version: of the process.
        admin_user: whom Pooldeck acts as; locking it out is an error. None: nobody.
        monitor_user: whom Pooldeck polls as; locking it out is a warning.
    """
    ini = lint_ini(texts, running, version)
    findings = list(ini.findings)
    if texts.folder_assumed and _has_relative_names(texts, ini):
        message = (
            "its process's working folder is not known: relative names are taken to count from the folder "
            f"{texts.working_folder}"
        )
        findings.append(Finding(Severity.WARNING, "working-folder", texts.root, None, message))
    users = None
    if not any(finding.severity is Severity.ERROR for finding in findings):
        settings = _effective(ini.expected)
        named = _Named(texts, settings, version)
        findings += named.tls()
        findings += named.hba()
        users, of_users = named.users()
        findings += of_users
        findings += _lost_roles(texts, settings, running, admin_user, monitor_user)
        findings += named.lost_password(users, admin_user, running)
    order = list(Severity)
    findings.sort(key=lambda finding: (order.index(finding.severity), finding.file, finding.line or 0))
    return Lint(tuple(findings), ini.expected, users)


class _Named:
    """The files that settings name."""

    def __init__(self, texts: ConfigTexts, settings: Mapping[str, str], version: Version) -> None:
        self._texts = texts
        self._settings = settings
        self._version = version
        self._auth_type = settings.get("auth_type", "")

    def users(self) -> tuple[AuthFile | None, list[Finding]]:
        name = self._settings.get("auth_file", "")
        if not name or self._auth_type in _NO_AUTH_FILE:
            return None, []
        file = self._texts.file(name)
        if file.content is None:
            if file.trouble is Trouble.MISSING:
                message = (
                    "auth_file: there is no such file: PgBouncer keeps the users it has, and has none after "
                    "a restart"
                )
                return None, [Finding(Severity.WARNING, "auth-file-missing", file.path, None, message)]
            return None, [_unread(file, "auth_file")]
        found = read_auth_file(file.content, self._version)
        findings = [
            Finding(Severity.ERROR, "auth-file", file.path, mistake.line, f"auth_file: {mistake.message}")
            for mistake in found.mistakes
        ]
        findings += [
            Finding(
                Severity.WARNING,
                "double-user",
                file.path,
                later.line,
                f"auth_file: {later.name} stands in line {earlier.line} too: the last one counts",
            )
            for earlier, later in found.doubles
        ]
        return found, findings

    def hba(self) -> Iterator[Finding]:
        if self._auth_type != "hba":
            return
        name = self._settings.get("auth_hba_file", "")
        file = self._texts.file(name) if name else HostFile("auth_hba_file", None, Trouble.MISSING)
        nobody = "with auth_type = hba nobody can log in then, the console's admins neither"
        if file.content is None:
            if file.trouble is Trouble.MISSING:
                message = f"auth_hba_file: {file.why if name else 'not set'}: {nobody}"
                yield Finding(Severity.ERROR, "hba-missing", file.path, None, message)
            else:
                yield _unread(file, "auth_hba_file")
            return
        found = read_hba_file(file.content, self._version)
        if not found.rules:
            yield Finding(
                Severity.ERROR, "hba-empty", file.path, None, f"auth_hba_file: not one rule: {nobody}"
            )
        for line, reason in found.ignored:
            yield Finding(
                Severity.WARNING,
                "hba-line",
                file.path,
                line,
                f"auth_hba_file: PgBouncer leaves it out: {reason}",
            )
        for line in found.never_match:
            message = "auth_hba_file: its address does not lie in its mask, so it fits nobody"
            yield Finding(Severity.WARNING, "hba-mask", file.path, line, message)
        yield from self._ident()

    def _ident(self) -> Iterator[Finding]:
        name = self._settings.get("auth_ident_file", "")
        if not name or self._version < _IDENT_SINCE:
            return
        file = self._texts.file(name)
        if file.trouble is Trouble.MISSING:
            message = "auth_ident_file: there is no such file: rules with map= are left out"
            yield Finding(Severity.WARNING, "ident-missing", file.path, None, message)
        elif file.content is None:
            yield _unread(file, "auth_ident_file")

    def tls(self) -> Iterator[Finding]:
        settings, root = self._settings, self._texts.root
        mode = settings.get("client_tls_sslmode", "disable")
        fails = "TLS cannot be set up then: it stays as it was, and 1.25 and later report a failed RELOAD"

        def wrong(message: str) -> Finding:
            return Finding(Severity.ERROR, "tls", root, None, f"{message}: {fails}")

        if mode != "disable" and not (
            settings.get("client_tls_key_file") and settings.get("client_tls_cert_file")
        ):
            yield wrong(
                f"client_tls_sslmode = {mode} wants both client_tls_key_file and client_tls_cert_file"
            )
        if self._auth_type == "cert" and mode != "verify-full":
            yield wrong("auth_type = cert wants client_tls_sslmode = verify-full")
        elif mode == "verify-full" and not settings.get("client_tls_ca_file"):
            yield wrong("client_tls_sslmode = verify-full wants client_tls_ca_file")
        for key in _tls_files(settings):
            path = self._texts.absolute(settings[key])
            trouble = self._texts.looked_for.get(path, Trouble.OTHER)
            if trouble in (Trouble.MISSING, Trouble.NO_PEM):
                message = f"{key}: {trouble.value}: TLS fails with it, and the process would not start again"
                yield Finding(Severity.ERROR, "tls-file", path, None, message)
            elif trouble is not None:
                message = f"{key}: whether it is there could not be seen ({trouble.value})"
                yield Finding(Severity.WARNING, "tls-file-unseen", path, None, message)

    def lost_password(
        self, users: AuthFile | None, admin_user: str | None, running: Mapping[str, Setting]
    ) -> Iterator[Finding]:
        """The admin's entry must still open the console."""
        now = running.get("auth_type")
        if users is None or users.mistakes or admin_user is None or self._auth_type not in _PASSWORD_TYPES:
            return
        if admin_user not in _names(running.get("admin_users")) or (
            now is not None and now.value not in _PASSWORD_TYPES
        ):
            return
        entry = users.by_name.get(admin_user)
        if entry is not None and not entry.empty:
            return
        path = self._texts.file(self._settings["auth_file"]).path
        what = "has no entry" if entry is None else "has an empty secret"
        severity = Severity.WARNING if self._settings.get("auth_user") else Severity.ERROR
        message = f"auth_file: {admin_user}, whom Pooldeck acts as, {what}: it could not log in any more"
        yield Finding(severity, "lock-out", path, entry.line if entry else None, message)


def _lost_roles(
    texts: ConfigTexts,
    settings: Mapping[str, str],
    running: Mapping[str, Setting],
    admin_user: str | None,
    monitor_user: str | None,
) -> Iterator[Finding]:
    """Say who is let in to the console now and would not be afterwards."""
    admins, readers = _words(settings.get("admin_users", "")), _words(settings.get("stats_users", ""))
    had_admins, had_readers = _names(running.get("admin_users")), _names(running.get("stats_users"))
    if had_admins and not admins:
        message = "admin_users would be empty: nobody could administer it any more"
        yield Finding(Severity.ERROR, "lock-out", texts.root, None, message)
    elif admin_user in had_admins and admin_user not in admins:
        message = f"admin_users would no longer name {admin_user}, whom Pooldeck acts as"
        yield Finding(Severity.ERROR, "lock-out", texts.root, None, message)
    if monitor_user in had_admins | had_readers and monitor_user not in admins | readers:
        message = f"stats_users would no longer name {monitor_user}, whom Pooldeck polls as"
        yield Finding(Severity.WARNING, "lock-out-monitor", texts.root, None, message)


def _effective(found: Expected) -> dict[str, str]:
    return {**found.settings, **found.at_start}


def _read_by(settings: Mapping[str, str], version: Version) -> Iterator[str]:
    """Yield the settings whose files PgBouncer reads at a RELOAD."""
    auth_type = settings.get("auth_type", "")
    keys = [] if auth_type in _NO_AUTH_FILE else ["auth_file"]
    if auth_type == "hba":
        keys.append("auth_hba_file")
        if version >= _IDENT_SINCE:
            keys.append("auth_ident_file")
    return (key for key in keys if settings.get(key))


def _tls_files(settings: Mapping[str, str]) -> Iterator[str]:
    for mode, keys in (("client_tls_sslmode", _CLIENT_FILES), ("server_tls_sslmode", _SERVER_FILES)):
        if settings.get(mode, "disable") != "disable":
            yield from (key for key in keys if settings.get(key))


def _has_relative_names(texts: ConfigTexts, ini: IniLint) -> bool:
    settings = _effective(ini.expected)
    named = (settings.get(key, "") for key in ("auth_file", "auth_hba_file", "auth_ident_file"))
    if any(name and not name.startswith("/") for name in named):
        return True
    contents = (texts.file(str(path)).content or b"" for path in ini.scan.ini.files)
    return any(_RELATIVE_INCLUDE.search(content) for content in contents)


def _unread(file: HostFile, setting: str) -> Finding:
    message = f"cannot be read off-line: {setting}: {file.why}"
    return Finding(Severity.UNREAD, "unread", file.path, None, message)


def _names(setting: Setting | None) -> frozenset[str]:
    return _words(setting.value or "") if setting is not None else frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(part for part in re.split(r"[\s,]+", text) if part)
