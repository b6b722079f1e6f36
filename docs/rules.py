"""``python docs/rules.py`` writes the pages of docs/rules from the docstrings of the rules."""

from __future__ import annotations

from pathlib import Path

from handlens.diagnosis.rules import RULES

PAGES = Path(__file__).parent / "rules"


def main() -> None:
    for rule in RULES.values():
        (PAGES / f"{rule.code}.md").write_text(rule.page, "utf-8")


if __name__ == "__main__":
    main()
