"""``python -m handlens``: the command line."""

from handlens.cli import main

if __name__ == "__main__":
    main()
