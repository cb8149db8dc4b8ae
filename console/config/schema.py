"""The inventory (`fleet.toml`) as pydantic models: names, types and rules of every key.

Reading the file, placing mistakes on their lines and filling in `[defaults]` is `load`'s work.
A loaded `Inventory` is complete: what a bouncer leaves out was taken from `[defaults]`.
TLS keys are libpq's own and mean what libpq's manual says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from console.config.policy_schema import Policies

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=63)]
"""Names are used in selectors, so `,` `!` `/` `@` `*` and spaces are out."""
Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", max_length=63)]
Text = Annotated[str, StringConstraints(min_length=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=3600)]
"""Strict, as `Port` is: `true` is not a number."""
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
PasswordSource = Annotated[
    str,
    StringConstraints(pattern=r"^(none|pgpass|pgpass:.+|env:[A-Za-z_][A-Za-z0-9_]*|command:.+|keyring:.+)$"),
]
"""`none`, `pgpass`, `pgpass:FILE`, `env:NAME`, `command:COMMAND LINE`, `keyring:SERVICE`."""

SYSTEM_ROOTS = Path("system")
"""`sslrootcert = "system"`: libpq 16 and later take the certificate authorities the machine trusts."""

_URL = re.compile(r"^(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\s@\[\]]+)(:(?P<port>\d{1,5}))?/?$")
PatroniUrl = Annotated[str, StringConstraints(pattern=_URL.pattern.replace("?P<", "?<"))]
"""`http://host:port`, without a user in it."""
_TCP = re.compile(r"^(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\s]+):(?P<port>\d{1,5})$")


class Strict(BaseModel):
    """Refuses unknown keys and never changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Tls(Strict):
    """TLS as libpq names it. None leaves libpq's default in force."""

    sslmode: SslMode | None = None
    sslrootcert: Path | None = None
    sslcert: Path | None = None
    sslkey: Path | None = None


class Login(Strict):
    """Which roles log in to an admin console, and where their passwords come from."""

    monitor_user: Text | None = None
    """Polls; should be one of `stats_users`."""
    admin_user: Text | None = None
    """Runs operations; one of `admin_users`. None: operations are refused for this pooler."""
    password_from: PasswordSource | None = None
    monitor_password_from: PasswordSource | None = None
    """Wins over `password_from` for the monitor user."""
    admin_password_from: PasswordSource | None = None
    """Wins over `password_from` for the admin user."""
    probe_user: Text | None = None
    """Logs in through the bouncer as its clients do, to see that they are served. None: only the admin
    console is logged in to."""
    probe_database: Text | None = None
    """Where `probe_user` logs in; a database of the bouncer. None: one called as the user, as libpq does."""
    probe_password_from: PasswordSource | None = None
    """Wins over `password_from` for the probe user."""


class Defaults(Login, Tls):
    """`[defaults]`: what every bouncer and Postgres node takes when it does not say otherwise."""

    connect_timeout_s: Seconds = 5.0
    """For each phase of reaching a node, from SSH to the login."""
    query_timeout_s: Seconds = 5.0
    """For one answer of an admin console or a Postgres node."""
    labels: dict[Label, str] = {}


class Host(Strict):
    """`[hosts.NAME]`: a machine reached over SSH. Names are OpenSSH's."""

    hostname: Text | None = None
    """An alias of ~/.ssh/config or an address; None means NAME itself."""
    port: Port | None = None
    user: Text | None = None
    identity_file: Path | None = None
    proxy_jump: Text | None = None
    """As in ssh_config(5): `[user@]host[:port]`, several with commas; `none` overrides the file."""
    known_hosts_file: Path | None = None
    """Instead of the files that ~/.ssh/config or OpenSSH's defaults name."""


PROCESS_KEYS: Mapping[str, str] = {
    "systemd": "unit",
    "command": "start_command",
    "docker": "container",
    "swarm": "service",
}
"""The key each kind of supervision cannot do without."""


class Process(Strict):
    """`[bouncers.process]`: how the pooler is supervised on its host."""

    kind: Literal["systemd", "command", "docker", "swarm"]
    unit: Text | None = None
    """systemd: the unit, e.g. `pgbouncer@1.service`."""
    start_command: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """command: argv that starts it."""
    pid_file: Path | None = None
    container: Text | None = None
    service: Text | None = None
    """swarm: the service whose task this is."""
    sudo: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _has_its_key(self) -> Self:
        key = PROCESS_KEYS[self.kind]
        if getattr(self, key) is None:
            raise ValueError(f"kind = {self.kind!r} needs {key!r}")
        return self


def address_mistake(*, tcp: bool, unix: bool, port: bool) -> str | None:
    """Say what is wrong with a node that has these address keys; None when nothing is."""
    if tcp == unix:
        return 'needs either tcp = "address:port" or unix = "directory" with port'
    if unix and not port:
        return "unix needs port, the number in the socket's name .s.PGSQL.PORT"
    if tcp and port:
        return "port goes with unix; with tcp it stands in the address"
    return None


class Placed(Tls):
    """Where a node listens: `tcp`, or `unix` with `port`; seen from `host` when it has one."""

    host: Name | None = None
    """A `[hosts]` entry to go through; None: reached straight from here."""
    tcp: str | None = None
    """`address:port`, `[v6]:port`."""
    unix: Path | None = None
    """The directory that holds `.s.PGSQL.PORT`."""
    port: Port | None = None
    """With `unix`."""

    @field_validator("tcp")
    @classmethod
    def _address_and_port(cls, value: str | None) -> str | None:
        if value is not None:
            found = _TCP.match(value)
            if found is None or not 1 <= int(found["port"]) <= 65535:
                raise ValueError(
                    'must be "address:port" with a port from 1 to 65535; an IPv6 address stands in brackets'
                )
        return value

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        mistake = address_mistake(
            tcp=self.tcp is not None, unix=self.unix is not None, port=self.port is not None
        )
        if mistake is not None:
            raise ValueError(mistake)
        return self

    @property
    def tcp_host(self) -> str | None:
        """The address part of `tcp`, brackets taken off; None for a Unix socket."""
        found = _TCP.match(self.tcp) if self.tcp else None
        return found["host"].strip("[]") if found else None

    @property
    def listen_port(self) -> int:
        """The port, of either kind."""
        found = _TCP.match(self.tcp) if self.tcp else None
        return int(found["port"]) if found else self.port or 0

    @property
    def address(self) -> str:
        """For people: `127.0.0.1:6432` or `/run/pgbouncer:6432`."""
        return self.tcp or f"{self.unix}:{self.port}"


class Bouncer(Placed, Login):
    """`[[bouncers]]`: one pooler process. Each process of a `so_reuseport` group is one entry."""

    name: Name
    kind: Literal["pgbouncer"] = "pgbouncer"
    labels: dict[Label, str] = {}
    peer_group: Name | None = None
    """Bouncers that stand in for one another (so_reuseport peers, or behind one balancer)."""
    config_file: Text | None = None
    """The ini file's path on its host."""
    process: Process | None = None
    connect_timeout_s: Seconds | None = None
    query_timeout_s: Seconds | None = None


class PostgresNode(Placed):
    """`[[postgres]]`: a server behind the poolers."""

    name: Name
    role: Literal["primary", "replica"]
    databases: Annotated[tuple[Text, ...], Field(min_length=1)] = ("postgres",)
    """The first one is where Pooldeck logs in to read the node's state."""
    user: Text | None = None
    password_from: PasswordSource | None = None
    admin_user: Text | None = None
    """Changes things there; what it must be allowed to, each verb says. None: `user` does."""
    admin_password_from: PasswordSource | None = None
    """Wins over `password_from` for the admin user."""
    patroni: PatroniUrl | None = None
    """Patroni's REST API on this node, as seen from `host` when it has one. None: no Patroni runs it."""
    patroni_user: Text | None = None
    """For what changes something (`restapi.authentication`). None: no login."""
    patroni_password_from: PasswordSource | None = None
    """Of `patroni_user`; nothing stands in for it."""
    patroni_cafile: Path | None = None
    """With https: who must have signed its certificate. None: whom this machine trusts."""
    labels: dict[Label, str] = {}
    connect_timeout_s: Seconds | None = None
    query_timeout_s: Seconds | None = None

    @property
    def patroni_address(self) -> tuple[str, str, int] | None:
        """Scheme, host and port of `patroni`."""
        found = _URL.match(self.patroni) if self.patroni else None
        if found is None:
            return None
        scheme = found["scheme"]
        return scheme, found["host"].strip("[]"), int(found["port"] or (443 if scheme == "https" else 80))


class Inventory(Strict):
    """A whole `fleet.toml`."""

    fleet: Name
    environment: Literal["development", "staging", "production"]
    """No default on purpose: the guard is as strict as this word says."""
    defaults: Defaults = Defaults()
    hosts: dict[Name, Host] = {}
    bouncers: tuple[Bouncer, ...] = ()
    postgres: tuple[PostgresNode, ...] = ()
    policy: Policies = Policies()
