"""``python -m handlens_server``: serve one client over standard input and output."""

import gc
import sys

# The types of the protocol are a million objects that stay: looking for garbage among them as they are made
# is a tenth of the time to start.
gc.disable()

from handlens_server.server import main  # noqa: E402

__all__ = ["main"]

gc.freeze()
gc.enable()

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
