"""``python -m handlens_server``: serve one client over standard input and output."""

import gc
import sys

# The types of the protocol are a million objects that are never garbage. Collecting garbage while they are
# made would take a tenth of the time to start.
gc.disable()

from handlens_server.quick_start import methods_cached  # noqa: E402

with methods_cached():
    from handlens_server.server import main

__all__ = ["main"]

gc.freeze()
gc.enable()
# A report of thousands of ops is a million more such objects. With Python's default thresholds, the garbage
# collector would search them every few letters that are typed, for a tenth of a second.
gc.set_threshold(10_000, 20)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
