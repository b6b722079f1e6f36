"""``python -m handlens_server``: serve one client over standard input and output."""

import sys

from handlens_server.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
