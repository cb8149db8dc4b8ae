"""What a keeper is told, from the inventory and a lease's cover."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from console.config.schema import Bouncer, Inventory
from console.errors import NodeError, Phase, UsageError
from console.operations.lease.base import Cover
from console.operations.lease.keeper_order import KeeperOrder, order_for
from console.operations.target import Target
from console.transport.base import TcpAddress, UnixAddress

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
LIFT = ("SET server_login_retry = 0", 'RESUME "app"', "SET server_login_retry = 15")


def order(database: str | None = None, lift: tuple[str, ...] = ("RESUME",), **bouncer: Any) -> KeeperOrder:
    values = {
        "name": "edge",
        "admin_user": "admin",
        **({} if "unix" in bouncer else {"tcp": "10.0.0.5:6432"}),
    }
    inventory = Inventory(
        fleet="f", environment="production", bouncers=(Bouncer.model_validate({**values, **bouncer}),)
    )
    cover = Cover(Target("edge", database), lift, "1.24.1", {"listen_port": "6432"})
    return order_for(inventory, cover, "a1", ttl_s=30, carried_bytes=5)


def test_it_reaches_the_pooler_as_its_host_does_and_is_plain_json() -> None:
    told = json.loads(json.dumps(order("app", LIFT, connect_timeout_s=3).as_dict()))
    assert told["address"] == {
        "host": "10.0.0.5",
        "port": 6432,
        "user": "admin",
        "sslmode": "prefer",
        "ca_pem": None,
    }
    assert (told["lift"], told["database"], told["carried_bytes"]) == (list(LIFT), "app", 5)
    assert (told["connect_timeout_s"], told["query_timeout_s"]) == (3, 5)
    unix = order(unix="/run/pgbouncer", port=6432)
    assert unix.address == UnixAddress("/run/pgbouncer", 6432)
    assert unix.as_dict()["address"] == {"directory": "/run/pgbouncer", "port": 6432, "user": "admin"}
    assert order(tcp="[::1]:6432").address == TcpAddress("::1", 6432)


def test_each_target_of_a_lease_has_a_folder_of_its_own() -> None:
    keys = [order().key, order("app").key, order("reports").key, order("../x y").key]
    assert len(set(keys)) == 4
    assert all(key.startswith("a1-edge") and "/" not in key and " " not in key for key in keys)


@pytest.mark.parametrize(
    ("mode", "rootcert", "expected"),
    [
        (None, None, ("prefer", None)),
        ("disable", "ca", ("disable", None)),
        ("require", None, ("require", None)),
        ("require", "ca", ("verify-ca", PEM)),
        ("verify-ca", "ca", ("verify-ca", PEM)),
        ("verify-full", "ca", ("verify-full", PEM)),
        ("verify-full", "system", ("verify-full", None)),
    ],
)
def test_tls_means_what_libpq_means_by_it(
    tmp_path: Path, mode: str | None, rootcert: str | None, expected: tuple[str, str | None]
) -> None:
    path = tmp_path / "ca.crt"
    path.write_text(f"Autorität, für Menschen\n{PEM}\n", encoding="utf-8")
    chosen = {"ca": path, "system": Path("system"), None: None}[rootcert]
    made = order(sslmode=mode, sslrootcert=chosen)
    assert (made.sslmode, made.ca_pem) == expected


def test_libpq_s_own_place_for_authorities_counts(tmp_path: Path) -> None:
    with pytest.raises(NodeError, match="cannot be read") as caught:
        order(sslmode="verify-full")
    assert caught.value.phase is Phase.TLS
    folder = tmp_path / "home/.postgresql"
    folder.mkdir()
    (folder / "root.crt").write_text(PEM)
    assert order(sslmode="verify-full").ca_pem == PEM


def test_what_a_keeper_cannot_do_is_said_before_anything_is_sent() -> None:
    with pytest.raises(NodeError, match="client certificate"):
        order(sslmode="require", sslcert=Path("/c.crt"), sslkey=Path("/c.key"))
    with pytest.raises(NodeError, match="no admin user"):
        order(admin_user=None)
    with pytest.raises(UsageError, match="no bouncer"):
        order_for(Inventory(fleet="f", environment="staging"), Cover(Target("x"), (), "", {}), "a1", ttl_s=1)
    for lift in ((), ("SET a = 1",), ("RESUME", "RESUME")):
        with pytest.raises(ValueError, match="exactly one RESUME"):
            order(lift=lift)
    with pytest.raises(ValueError, match="folder's name"):
        replace(order(), lease_id="../up")
