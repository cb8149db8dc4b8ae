"""The verbs as words: name, title, summary and help of each, for the command line, palette and docs.

Only the standard library is imported here, so that `pooldeck --help` stays quick. What a verb does is
`console.operations.registry`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from console.operations.switchover.words import SWITCHOVER
from console.operations.verb import BOUNCERS, NODE, Option, Verb
from console.operations.verbs_config import CONFIG_PUSH, CONFIG_ROLLBACK, CONFIG_SET
from console.operations.verbs_restart import RESTART
from console.operations.verbs_rotate import ROTATE
from console.operations.verbs_start import START

GROUPS: Mapping[str, str] = MappingProxyType(
    {"config": "Compare and change the configuration files of bouncers."}
)
"""First words of commands that have two, and what they are about."""

PAUSE = Verb(
    name="pause",
    title="Pause",
    summary="Hold the clients of a bouncer or database.",
    help=(
        "Waits until every server connection of the targets is released, holds their clients for --for, then "
        "resumes them. If the targets are not all drained within --timeout, or anything else goes wrong, all "
        "are resumed at once and the pause is reported as failed.\n\n"
        "A pause always ends: at its time, on Ctrl-C, or when `pooldeck resume` ends it early. Should this "
        "process die, its guardian resumes; should the whole machine be cut off, a keeper on the pooler's "
        "host does."
    ),
    timeout_help="Seconds in which the targets must be drained; then they are resumed again.",
    options=(
        Option(
            "hold_s",
            "--for",
            "TIME",
            "How long clients are held, e.g. 30s or 2m; never as long as they would be cut.",
            "duration",
            "30s",
        ),
        Option(
            "detach",
            "--detach",
            "",
            "Return once it is held and leave the guardian in charge until its time is up.",
            "switch",
        ),
    ),
)
RESUME = Verb(
    name="resume",
    title="Resume",
    summary="Let the clients of a paused bouncer or database go on.",
    help=(
        "Ends a pause and reads back that it is over. Resuming a bouncer does not lift the pause of a "
        "single database: that needs `pooldeck resume NAME/DATABASE`; the plan names those that stay.\n\n"
        "A bouncer that is suspended (until 1.25) lets no console in: its process is looked for on its host, "
        "and gets the signal that means RESUME."
    ),
    timeout_help="Seconds for the pooler's answer.",
)
RELOAD = Verb(
    name="reload",
    title="Reload",
    summary="Make a bouncer read its configuration again.",
    help=(
        "Its files are read over SSH and checked first: ini, %include, auth_file, HBA and TLS files. Files "
        "with an error are refused: one wrong line makes the pooler fall back to its compiled defaults, and "
        "up to 1.24 it answers success all the same. The plan shows what would change, which SET values "
        "would be undone and whose clients would be cut.\n\n"
        "Afterwards settings, databases and peers are compared with what the files say. After a good reload "
        "a copy of each file is kept beside it on its host; after a bad one the copies are put back and "
        "reloaded."
    ),
    timeout_help="Seconds for the pooler's answer.",
    targets="Bouncers, @label=value, all.",
    options=(
        Option(
            "unchecked",
            "--unchecked",
            "",
            "Also when not every file could be read and checked beforehand.",
            "switch",
        ),
    ),
)
_ALLOW_LAST = Option(
    "allow_last", "--allow-last", "", "Also the last healthy member of a peer group.", "switch"
)
_DATABASES = "NAME/DATABASE, NAME/* for all of a bouncer, @label=value/DATABASE."

RECONNECT = Verb(
    name="reconnect",
    title="Reconnect",
    summary="Open the server connections anew, as they are released.",
    help=(
        "Every server connection of the targets is closed once its client has released it, and a new one is "
        "opened when it is needed. It waits until none of the old ones is left, and then looks whether the "
        "pools that were in use have new ones: new logins to Postgres show whether its address and "
        "credentials are right.\n\n"
        "Old connections left after --timeout make it fail, with the clients that hold them. They are still "
        "closed when they are released: it is the waiting that ended, and sending it again would not help."
    ),
    timeout_help="How long the old connections are waited for.",
    timeout_s=60.0,
)
DISABLE = Verb(
    name="disable",
    title="Disable",
    summary="Refuse new clients of a database.",
    help=(
        "New clients of the databases are refused after their login; those that are connected go on. It is "
        "read back. It lasts over a RELOAD, and until `pooldeck enable` or a restart of the pooler."
    ),
    timeout_help="How long the pooler's answer is waited for.",
    targets=_DATABASES,
    options=(_ALLOW_LAST,),
)
ENABLE = Verb(
    name="enable",
    title="Enable",
    summary="Let new clients of a disabled database in again.",
    help="Ends what `pooldeck disable` did, and reads it back.",
    timeout_help="How long the pooler's answer is waited for.",
    targets=_DATABASES,
)
KILL = Verb(
    name="kill",
    title="Kill",
    summary="Cut every client and server connection of a database.",
    help=(
        "All clients of the databases are cut, whatever they do, and their server connections closed. "
        "PgBouncer leaves a killed database paused, so it is resumed in the same breath and new clients are "
        "served; a guardian stands by meanwhile.\n\n"
        "Queries that run are not cancelled: they go on in Postgres. Their backends are named, with the "
        "command that cancels them."
    ),
    timeout_help="How long the pooler's answer is waited for.",
    targets=_DATABASES,
)
KILL_CLIENT = Verb(
    name="kill-client",
    title="Kill client",
    summary="Cut single clients of a bouncer, by their ids.",
    help=(
        "Clients are named by the id that SHOW CLIENTS has for them, on exactly one bouncer. The plan shows "
        "who they are, and only those are cut: should one have left meanwhile, nothing is sent. Needs "
        "PgBouncer 1.24.\n\n"
        "Queries that run are not cancelled: they go on in Postgres. Their backends are named."
    ),
    timeout_help="How long each answer is waited for.",
    targets="One bouncer.",
    single="BOUNCER",
    options=(Option("ids", None, "ID", "Ids of clients, as SHOW CLIENTS has them.", "texts"),),
)
SHUTDOWN = Verb(
    name="shutdown",
    title="Shut down",
    summary="End a bouncer's process, at once or when it is empty.",
    help=(
        "It cannot be taken back. --mode now cuts every client at once. wait-for-servers lets open "
        "transactions end and cuts waiting clients; wait-for-clients lets connected clients go on until "
        "they leave by themselves; both refuse new clients from the start, and need PgBouncer 1.23.\n\n"
        "It ends well when the process has exited, or still shuts down after --timeout: it then goes on by "
        "itself. An admin console that stays open, such as an exporter's, keeps wait-for-clients from "
        "ending."
    ),
    timeout_help="How long the process's end is waited for.",
    timeout_s=30.0,
    targets=BOUNCERS,
    options=(
        Option(
            "mode",
            "--mode",
            "MODE",
            "now, wait-for-servers or wait-for-clients.",
            choices=("now", "wait-for-servers", "wait-for-clients"),
        ),
        _ALLOW_LAST,
    ),
)
SET = Verb(
    name="set",
    title="Set",
    summary="Change a setting until the next reload.",
    help=(
        "The setting must be one of SHOW CONFIG and changeable while PgBouncer runs: for any other one "
        "PgBouncer would answer success and do nothing. The value is read back. RELOAD and a restart put "
        "the value of the file back.\n\n"
        "Settings that may hold a secret are not taken: set them in the file."
    ),
    timeout_help="How long the pooler's answer is waited for.",
    targets=BOUNCERS,
    options=(
        Option("key", None, "KEY", "The setting, e.g. default_pool_size.", names="setting"),
        Option("value", None, "VALUE", "Its new value, as in the configuration file."),
    ),
)
CANCEL = Verb(
    name="cancel",
    title="Cancel query",
    summary="Cancel what Postgres backends run, by their pids.",
    help=(
        "Sends pg_cancel_backend to backends of one Postgres node. The client gets an error for its query "
        "and stays connected. The plan shows who they are, what they wait for and whom they keep waiting; a "
        "backend that is in another transaction by then is left alone. A transaction that is idle is not "
        "ended by this."
    ),
    timeout_help="How long the end of the queries is waited for.",
    targets="One Postgres node.",
    single=NODE,
    options=(Option("pids", None, "PID", "Process ids of backends.", "texts"),),
)
TERMINATE = Verb(
    name="terminate",
    title="Terminate backend",
    summary="End Postgres backends, by their pids.",
    help=(
        "Sends pg_terminate_backend to backends of one Postgres node: their transactions are rolled back and "
        "their clients cut; behind a pooler that is the client that holds the connection. The plan shows who "
        "they are, what they wait for and whom they keep waiting."
    ),
    timeout_help="How long the end of the backends is waited for.",
    targets="One Postgres node.",
    single=NODE,
    options=(Option("pids", None, "PID", "Process ids of backends.", "texts"),),
)
MEND = Verb(
    name="mend",
    title="Mend",
    summary="End every pause that nobody alive owns.",
    help=(
        "Resumes what is paused or suspended: bouncers as a whole, and databases paused on their own or left "
        "paused by KILL. What a living run holds is left to it; who left the others behind is told where "
        "this machine knows it. Settings that a dead run changed for a moment are put back. Disabled "
        "databases and poolers that shut down are told, not touched."
    ),
    timeout_help="Seconds for the pooler's answer.",
    default_selector="all",
)
VERBS: tuple[Verb, ...] = (
    *(PAUSE, RESUME, RELOAD, RECONNECT, DISABLE, ENABLE),
    *(KILL, KILL_CLIENT, SHUTDOWN, SET, CANCEL, TERMINATE, MEND, ROTATE),
    *(CONFIG_SET, CONFIG_PUSH, CONFIG_ROLLBACK),
    RESTART,
    START,
    SWITCHOVER,
)
