"""Headers of the simulated admin console, spelled out for each PgBouncer version it can play.

Written from runs of real PgBouncers 1.18.0, 1.24.1 and 1.26.1 and independent of
`console.poolers.columns`, so that the reader is not tested against its own idea of the columns. A test
compares them with real servers: names, order and types.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

TEXT: Final = 25
INT4: Final = 23
NUMERIC: Final = 1700
Header = tuple[tuple[str, int], ...]
VERSIONS: Final = ("1.18.0", "1.24.1", "1.26.1")

_POOLS = """database= user= cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active
    sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode="""
_PEER_118 = """type= user= database= state= addr= port local_addr= local_port connect_time= request_time=
    wait wait_us close_needed ptr= link= remote_pid tls= application_name="""
_PEER_124 = """type= user= database= replication= state= addr= port local_addr= local_port connect_time=
    request_time= wait wait_us close_needed ptr= link= remote_pid tls= application_name=
    prepared_statements id"""
_DATABASES_118 = """name= host= port database= force_user= pool_size min_pool_size reserve_pool pool_mode=
    max_connections current_connections paused disabled"""
_DATABASES_124 = """name= host= port database= force_user= pool_size min_pool_size reserve_pool_size
    server_lifetime pool_mode= load_balance_hosts= max_connections current_connections
    max_client_connections current_client_connections paused disabled"""
_USERS_124 = """name= pool_size= reserve_pool_size= pool_mode= max_user_connections current_connections
    max_user_client_connections current_client_connections"""
_HALF_118 = ["xact_count", "query_count", "received", "sent", "xact_time", "query_time", "wait_time"]
_HALF_124 = [
    "server_assignment_count",
    *_HALF_118,
    "client_parse_count",
    "server_parse_count",
    "bind_count",
]
_HALF_126 = [*_HALF_124, "client_login_count"]


def _header(text: str) -> Header:
    """Read `name=` as text and `name` as int4."""
    return tuple((word.rstrip("="), TEXT if word.endswith("=") else INT4) for word in text.split())


def _stats(half: list[str]) -> Header:
    totals = ["total_" + name for name in half]
    averages = ["avg_" + name.replace("received", "recv") for name in half]
    return (("database", TEXT), *((name, NUMERIC) for name in (*totals, *averages)))


_COMMON: Mapping[str, Header] = {
    "VERSION": _header("version="),
    "LISTS": _header("list= items"),
    "CONFIG": _header("key= value= default= changeable="),
}
_V118: Mapping[str, Header] = {
    **_COMMON,
    "POOLS": _header(_POOLS),
    "DATABASES": _header(_DATABASES_118),
    "CLIENTS": _header(_PEER_118),
    "SERVERS": _header(_PEER_118),
    "USERS": _header("name= pool_mode="),
    "STATS": _stats(_HALF_118),
}
_V124: Mapping[str, Header] = {
    **_COMMON,
    "STATE": _header("key= value="),
    "POOLS": _header(_POOLS + " load_balance_hosts="),
    "DATABASES": _header(_DATABASES_124),
    "CLIENTS": _header(_PEER_124),
    "SERVERS": _header(_PEER_124),
    "USERS": _header(_USERS_124),
    "STATS": _stats(_HALF_124),
}
HEADERS: Final[Mapping[str, Mapping[str, Header]]] = MappingProxyType(
    {"1.18.0": _V118, "1.24.1": _V124, "1.26.1": {**_V124, "STATS": _stats(_HALF_126)}}
)
"""By version, then by the word after SHOW."""
