"""The words of `rotate`."""

from __future__ import annotations

from console.operations.verb import BOUNCERS, Option, Verb

ROTATE = Verb(
    name="rotate",
    title="Rotate password",
    summary="Give a role another password, in poolers and Postgres.",
    help=(
        "Finds out how each pooler knows the role (its auth_file's plaintext or SCRAM secret, auth_query, a "
        "forced user's password, auth_user), and writes the steps in the right order, with what is checked "
        "after each; --check prints that and touches nothing.\n\n"
        "A role's own secret is changed behind a pause of every pooler at once: the verifier is computed "
        "here, Postgres and each auth_file get it, and before clients go on the new secret is tried through "
        "every pooler and database. What is interrupted is written down: --resume completes it, --undo "
        "takes it back.\n\n"
        "With --to two roles are used side by side, and nobody waits: the second one gets the first one's "
        "rights and is let in everywhere, you move the applications, and --finish shuts the first one out "
        "once nobody uses it. Until then --undo takes the second one out again."
    ),
    timeout_help="Seconds in which the poolers must be drained; then they are resumed, and nothing changes.",
    targets=BOUNCERS,
    default_selector="all",
    selector_flag="--on",
    plan_flag="--check",
    options=(
        Option("role", None, "ROLE", "The role."),
        Option("to", "--to", "ROLE2", "Two roles side by side: the one that takes over.", default=""),
        Option(
            "method",
            "--method",
            "METHOD",
            "Refuse unless the role is known in this way only.",
            default="auto",
            choices=("auto", "ab", "inline", "userlist", "scram", "auth-query", "auth-user"),
        ),
        Option(
            "secret_from",
            "--secret-from",
            "SOURCE",
            "The new secret: prompt, generate, fd:NUMBER or command:LINE.",
            default="prompt",
        ),
        Option(
            "secret_to",
            "--secret-to",
            "WHERE",
            "Where a generated secret goes before anything changes: fd:NUMBER or command:LINE (its input).",
            default="",
        ),
        Option(
            "old_from",
            "--old-from",
            "SOURCE",
            "The old secret, to see that it is refused afterwards: prompt, fd:NUMBER or command:LINE.",
            default="",
        ),
        Option(
            "hold_s",
            "--hold",
            "TIME",
            "How long clients may wait after the poolers are drained; then it is undone.",
            "duration",
            "20s",
        ),
        Option("resume", "--resume", "", "Complete a rotation that was interrupted.", "switch"),
        Option(
            "undo",
            "--undo",
            "",
            "Take back a rotation that was interrupted; with --to one that is not finished.",
            "switch",
        ),
        Option(
            "finish", "--finish", "", "With --to: shut the first role out, once nobody uses it.", "switch"
        ),
    ),
)
