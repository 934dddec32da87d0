"""One command for everything.

`python3 run.py edit | serve | models | plan | convert | train | test`.

Needs Python 3.11 and nothing else.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "Python: got "
        + sys.version.split()[0]
        + ", needs 3.11 or newer. Use another one: python3.11 run.py edit"
    )

from sama_core.launch.cli import main

if __name__ == "__main__":
    sys.exit(main())
