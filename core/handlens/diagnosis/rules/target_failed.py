from __future__ import annotations

from pathlib import Path

from handlens.diagnosis.rules.rule import Rule
from handlens.report import Failure, Span


class TargetFailed(Rule):
    """The file does not parse, importing it failed, or the target raised an exception when it was called.

        net.py:12:8: HL301 error: Importing net.py failed: ModuleNotFoundError: No module named 'timm'

    The error is on the line of your file that it came from; `--verbose` shows the whole traceback.

    ## Example

    ```python
    def handlens_main():
        model = Net()
        model.load_state_dict(torch.load("weights.pt"))  # FileNotFoundError
        return model, (torch.randn(1, 3, 32, 32),)
    ```

    ## What to do

    - A module is missing: Handlens runs your code in the Python that runs `handlens`, unless you name
      another one: `--python .venv/bin/python`, or `handlens.interpreter` in the editor.
    - A file is missing: relative names start at the folder that `handlens` or the editor was started in.
      Make them relative to the file: `Path(__file__).parent / "weights.pt"`.
    - Try the target by itself: `python -c "import net; net.handlens_main()"`.

    A failure cannot be suppressed: without it, the result would read as "all fine".
    """

    code = "HL301"
    name = "target-failed"
    can_be_suppressed = False


def does_not_parse(error: Exception, file: str) -> Failure:
    """The failure of a file of which ``targets.discover`` raised ``error``."""
    reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
    span = None
    if isinstance(error, SyntaxError) and error.lineno:
        start = error.lineno, max((error.offset or 1) - 1, 0)
        end = error.end_lineno or error.lineno, (error.end_offset or 0) - 1
        span = Span(file, *start, *(end if end > start else (start[0], start[1] + 1)))
    return Failure(TargetFailed.code, f"{Path(file).name} does not parse: {reason}", span, "")
