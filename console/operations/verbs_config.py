"""The words of the verbs on configuration files."""

from __future__ import annotations

from console.operations.verb import BOUNCERS, Option, Verb

_ALL_OF_IT = (
    "The files are read over SSH and checked as they would be, for that very process; files with an error "
    "are never written. Each file is kept beside itself, replaced whole, and RELOAD is sent and read back. "
    "When anything is amiss the files are put back and reloaded at once."
)
_EACH_COMMAND = "How long the pooler's answer is waited for."
CONFIG_SET = Verb(
    name="config set",
    title="Config set",
    summary="Change keys in the files of a bouncer, and reload it.",
    help=(
        "KEY is a setting, or databases.NAME, databases.NAME.OPTION, users.NAME.OPTION: pool_mode=session, "
        "databases.app.pool_size=20. Comments, order and everything else in the files stay as they are; "
        f"included files are followed.\n\n{_ALL_OF_IT}\n\n"
        "Settings that only a restart takes are written and told. No secret is taken from the command line."
    ),
    timeout_help=_EACH_COMMAND,
    targets=BOUNCERS,
    options=(
        Option(
            "changes",
            None,
            "KEY=VALUE",
            "What is to stand in the files.",
            "pairs",
            default="",
            names="setting=",
        ),
        Option(
            "remove",
            "--remove",
            "KEY",
            "Take a key out; may be given again.",
            "texts",
            default="",
            names="setting",
        ),
    ),
)
CONFIG_PUSH = Verb(
    name="config push",
    title="Config push",
    summary="Put a whole main file on bouncers, and reload them.",
    help=(
        "FILE, of this machine, takes the place of the main file of each target. Settings that tell a "
        "process from its peers keep the value they have there: listen_addr, listen_port, unix_socket_dir, "
        f"pidfile, logfile, peer_id, syslog_ident, job_name.\n\n{_ALL_OF_IT}"
    ),
    timeout_help=_EACH_COMMAND,
    targets=BOUNCERS,
    options=(
        Option("file", None, "FILE", "A whole pgbouncer.ini."),
        Option(
            "keep", "--keep", "KEY", "Keep this line of the target too.", "texts", default="", names="setting"
        ),
        Option(
            "take", "--take", "KEY", "Take this one of FILE after all.", "texts", default="", names="setting"
        ),
    ),
)
CONFIG_ROLLBACK = Verb(
    name="config rollback",
    title="Config rollback",
    summary="Put back the files of before a config change.",
    help=(
        "A run of config set, push or rollback keeps what it replaces beside each file, as "
        "NAME.pooldeck-RUN. Without --run the newest is put back; a second rollback brings the change back."
        f"\n\n{_ALL_OF_IT}"
    ),
    timeout_help=_EACH_COMMAND,
    targets=BOUNCERS,
    options=(Option("run", "--run", "RUN", "Whose backups, as its receipt has it.", default=""),),
)
