"""`python -m penstock` is `penstock`: the command line, which may be interrupted before it is even imported."""

import atexit
import gc
import os
import sys


def start() -> int:
    """Run the command of this process. For the console script alone: it ends the process in its own way."""
    gc.set_threshold(10_000)  # imports make tens of thousands of objects and no garbage: looking for it costs 50 ms
    status: list[int] = []
    if not atexit._ncallbacks():  # else somebody (a coverage tool, say) waits for the interpreter's own end
        atexit.register(_leave, status)  # the first to be registered is the last to be called
    try:
        from penstock.cli import main  # here, since an import at the top would end with a traceback
    except KeyboardInterrupt:
        sys.stderr.write("error: stopped before anything was done\n")
        return 130
    status.append(main())
    return status[0]


def _leave(status: list[int]) -> None:
    """End the process as soon as every thread has ended and everything is closed and written.

    Taking the interpreter apart, object by object, takes another 0.1 s of CPU and changes nothing.
    """
    if not status:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads: the interpreter says it in its own way
        return
    os._exit(status[0])


if __name__ == "__main__":
    sys.exit(start())
