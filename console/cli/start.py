"""Where the program starts: a Ctrl-C while the rest is still being loaded ends it without a word.

It imports nothing of ours at its top level: until then Python would answer with a traceback.
"""

import signal


def main() -> None:
    """Load the command line and run it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from console.cli.main import main as command_line

    signal.signal(signal.SIGINT, signal.default_int_handler)
    command_line()


if __name__ == "__main__":
    main()
