from __future__ import annotations

from handlens.diagnosis.rules.rule import Rule


class WorkerFailed(Rule):
    """The process that ran the model ended before it had a result.

        net.py::handlens_main: HL304 error: Running handlens_main failed: its process was killed by SIGKILL.

    Your code runs in a process of its own, so that nothing it does can take the editor or the command
    line with it. The last lines that it printed are shown below the message.

    ## Example

    ```python
    def handlens_main():
        return Huge(), (torch.randn(4096, 3, 1024, 1024),)  # more memory than there is
    ```

    ## What to do

    - `SIGKILL` that you did not send: the system ran out of memory. Use smaller batches; a few of them
      are enough.
    - `SIGSEGV` or `SIGABRT`: a native extension crashed. `python -X faulthandler -c "import net;
      net.handlens_main()"` shows where.
    - An exit status: something called `os._exit`.
    - "as it started": the interpreter could not import torch. The message ends with what it said last: a variable
      such as `TORCH_LOGS` or `PYTHONPATH`, a broken installation, a library that is missing.

    A failure cannot be suppressed.
    """

    code = "HL304"
    name = "worker-failed"
    can_be_suppressed = False
