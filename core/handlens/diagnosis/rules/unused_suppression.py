from __future__ import annotations

from handlens.diagnosis.rules.rule import Rule


class UnusedSuppression(Rule):
    """A `# handlens: ignore` comment suppresses nothing.

        net.py:22:36: HL203 information: unused suppression: nothing here to ignore

    A comment that outlives its finding hides the next one.

    ## Example

    ```python
    x = self.stem(x)  # handlens: ignore[HL101]   <- the line is fine since the clamp was added
    ```

    ## What to do

    - Remove the comment.
    - Or move it: it counts for the expressions that begin, end or run through its line.
    - Or correct its codes: `# handlens: ignore[HL101, HL104]`; without brackets it stands for all.

    A comment is judged in the file of the target, and only where the file has one target: in other files, and
    beside other targets, somebody else may need it.

    ## Suppress

    `--ignore HL203`, or

    ```toml
    [tool.handlens]
    ignore = ["HL203"]
    ```
    """

    code = "HL203"
    name = "unused-suppression"
    marks_unnecessary_text = True
