# SPDX-License-Identifier: Apache-2.0
"""One-line progress and error messages of the scripts, on stderr."""

import os
import sys


class Failure(Exception):
    """A failure that its message explains: printed as one line, without a traceback."""


def program():
    return os.path.basename(sys.argv[0])


def say(text):
    print(f"{program()}: {text}", file=sys.stderr, flush=True)


def run_main(main):
    """Runs main(), prints a Failure as one line, and exits."""
    try:
        sys.exit(main())
    except Failure as failure:
        say(f"error: {failure}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
