"""`python -m penstock` is `penstock`: the command line, which may be interrupted before it is even imported."""

import sys


def start() -> int:
    try:
        from penstock.cli import main  # here, since an import at the top would end with a traceback
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped before anything was done\n")
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(start())
