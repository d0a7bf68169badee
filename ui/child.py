"""Run a program at low priority, and end with the process that started it: `python -m ui.child PROGRAM ARGUMENTS`.

The starting process holds the other end of standard input; when it is gone, however it ended, the pipe closes.
"""

import os
import runpy
import sys
import threading

NICENESS = 10


def _end_with_parent() -> None:
    # Not sys.stdin.read: a thread that waits in it makes Python abort when the program ends by itself.
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    os.nice(NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
