"""The switchover as words; only the standard library, as in `console.operations.verbs`."""

from __future__ import annotations

from console.operations.verb import NODE, Option, Verb

SWITCHOVER = Verb(
    name="switchover",
    title="Switch over",
    summary="Let a replica take the place of a Postgres node.",
    help=(
        "The bouncers whose databases lead to the node are paused together, under a lease. The replica --to "
        "replays what is left, the old primary is fenced, the replica is promoted, the bouncers are made to "
        "lead to it, a client's login through each is tried, and all are resumed. Clients wait; none is "
        "cut.\n\n"
        "Until the promotion is sent everything is undone when anything fails, and clients go on with the "
        "old primary. After it there is no way back: what is left is finished. The same command again "
        "finishes what an earlier run has left."
    ),
    timeout_help="Seconds in which the bouncers must be drained; then they are resumed again.",
    targets="One Postgres node: the primary that is left.",
    single=NODE,
    options=(
        Option("to", "--to", "REPLICA", "The Postgres node that takes its place.", names="node"),
        Option(
            "fence",
            "--fence",
            "HOW",
            "What keeps others from writing to the old primary: read-only (default_transaction_read_only, "
            "set for the whole server), stop (needs --stop-command), patroni (where it runs the nodes: it "
            "stops it) or none.",
            choices=("read-only", "stop", "patroni", "none"),
        ),
        Option(
            "hold_s",
            "--within",
            "TIME",
            "How long clients may be held after they are drained.",
            "duration",
            "20s",
        ),
        Option(
            "catch_up_s",
            "--catch-up",
            "TIME",
            "How long the replica may take to replay what is left; then all is undone.",
            "duration",
            "3s",
        ),
        Option(
            "bouncers",
            "--bouncers",
            "SELECTOR",
            "Which bouncers, if not all that lead there.",
            default="all",
            names="target",
        ),
        Option(
            "retarget",
            "--retarget",
            "HOW",
            "How bouncers are moved: config (host= and port= in [databases]), command, or none where a name "
            "or a service moves.",
            default="config",
            choices=("config", "command", "none"),
        ),
        Option(
            "from_address",
            "--from-address",
            "HOST:PORT",
            "How bouncers call the node, if not as the inventory does.",
            default="",
        ),
        Option(
            "to_address",
            "--to-address",
            "HOST:PORT",
            "How bouncers are to call the replica, if not as the inventory does.",
            default="",
        ),
        Option(
            "promote_command",
            "--promote-command",
            "COMMAND",
            "Run on the replica's host instead of pg_promote() or Patroni; no shell, no secrets.",
            default="",
        ),
        Option(
            "stop_command",
            "--stop-command",
            "COMMAND",
            "Run on the old primary's host with --fence stop; no shell, no secrets.",
            default="",
        ),
        Option(
            "retarget_command",
            "--retarget-command",
            "COMMAND",
            "Run on each bouncer's host with --retarget command; no shell, no secrets.",
            default="",
        ),
        Option("no_probe", "--no-probe", "", "Also where no client's login can be tried.", "switch"),
    ),
)
