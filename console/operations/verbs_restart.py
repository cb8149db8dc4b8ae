"""The words of `restart`."""

from __future__ import annotations

from console.operations.verb import BOUNCERS, Option, Verb

RESTART = Verb(
    name="restart",
    title="Restart",
    summary="Restart a bouncer's process, by the gentlest way that fits.",
    help=(
        "The plan says which method each bouncer takes, why, and what its clients will see. rolling: it "
        "takes no new clients and ends when the last one has left, while its peers serve (1.23 and later). "
        "takeover: a new process takes the open connections over (-R, up to 1.25). drain: it is paused until "
        "no transaction is open, then stopped and started. plain: stopped and started.\n\n"
        "Stop and start are handed to the bouncer's host together, so that it comes back whatever becomes of "
        "this process or the network. It has gone well when another process answers, of the expected "
        "version, with the same identity, and lets a client in. A bouncer that does not come back ends the "
        "run, with the last lines of its log.\n\n"
        "An upgrade is a restart whose start command leads to another version: see --expect-version."
    ),
    timeout_help="How long clients (rolling) or open transactions (drain) are waited for.",
    timeout_s=30.0,
    targets=BOUNCERS,
    options=(
        Option(
            "method",
            "--method",
            "METHOD",
            "auto, rolling, takeover, drain or plain.",
            default="auto",
            choices=("auto", "rolling", "takeover", "drain", "plain"),
        ),
        Option(
            "stragglers",
            "--stragglers",
            "WHAT",
            "rolling: what becomes of clients that stay: wait, kill-idle (1.24 and later) or give-up.",
            default="give-up",
            choices=("wait", "kill-idle", "give-up"),
            live_choice="ask",
        ),
        Option(
            "expect_version",
            "--expect-version",
            "VERSION",
            "What it must be afterwards, e.g. 1.26.",
            default="",
        ),
        Option(
            "start_timeout_s",
            "--start-timeout",
            "TIME",
            "How long the old process may take to end, and the new one to serve.",
            "duration",
            "20",
        ),
        Option(
            "max_cpu_percent",
            "--max-cpu",
            "PERCENT",
            "rolling: a peer above it cannot take more clients.",
            default="80",
        ),
    ),
)
