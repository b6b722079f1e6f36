"""``python -m handlens_server``: serve one client over standard input and output."""

import gc
import sys

# The types of the protocol are a million objects that stay: looking for garbage among them as they are made
# is a tenth of the time to start.
gc.disable()

from handlens_server.quick_start import methods_kept  # noqa: E402

with methods_kept():
    from handlens_server.server import main

__all__ = ["main"]

gc.freeze()
gc.enable()
# A report of thousands of ops is a million objects more, none of them garbage. By Python's own numbers it
# would look through them, for a tenth of a second, every few letters that are typed.
gc.set_threshold(10_000, 20)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
