"""A run from a file's text to a report; whatever goes wrong in it is told on the user's own line."""

from __future__ import annotations

import py_compile
from pathlib import Path

import pytest

from handlens.diagnosis.thresholds import ChosenThresholds
from handlens.report import Document, LogitsAgreement, Metric, Report, digest, dump, load
from handlens.targets import BOM
from tests.needs import needs_columns

from .conftest import RunText

MODEL = """\
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(x).relu()

"""


def failure(report: Report) -> tuple[str, int | None]:
    assert report.status == "failed"
    assert report.error is not None
    assert report.error.traceback or report.error.rule == "HL305"
    assert [f.rule for f in report.findings] == [report.error.rule]
    span = report.error.span
    return report.error.rule, span.line if span else None


@pytest.mark.parametrize(
    ("declared", "batches"),
    [
        ("return Model(), (torch.randn(2, 4),)", 1),
        ("return {'model': Model(), 'example_inputs': [torch.randn(2, 4)]}", 1),
        (
            "return dict(model=Model(), example_inputs=(torch.randn(2, 4),), recipe='xnnpack',"
            " calibration=[torch.randn(2, 4)], evaluation=((torch.randn(2, 4),) for _ in range(3)))",
            3,
        ),
        (
            "return dict(model=Model(), example_inputs=(torch.randn(2, 4),),"
            " dynamic_shapes={'x': {0: torch.export.Dim('batch')}},"
            " evaluation=[torch.randn(5, 4), torch.randn(7, 4)])",
            2,
        ),
    ],
)
def test_a_target_function_says_what_to_run(run_text: RunText, declared: str, batches: int) -> None:
    report = run_text(MODEL + f"def handlens_main():\n    {declared}\n")
    assert report.status == "ok", report.error
    assert report.batches == batches
    assert report.recipe == ("xnnpack" if "xnnpack" in declared else "x86")
    assert [op.name for op in report.ops] == ["linear", "relu"]
    assert set(report.timings) == {"load", "export", "quantize", "compare"}
    document = Document("0", "2", (report,))
    assert load(dump(document)) == document


def test_a_module_class_with_example_inputs_is_a_target(run_text: RunText) -> None:
    text = MODEL + "    def example_inputs(self):\n        return (torch.randn(2, 4),)\n"
    assert run_text(text).status == "ok"


def test_configured_targets_are_built_from_references(run_text: RunText, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.handlens.targets.main]\n"
        "model = 'model:Model'\nexample_inputs = 'model:inputs'\nrecipe = 'xnnpack'\n"
    )
    report = run_text(MODEL + "def inputs():\n    return (torch.randn(2, 4),)\n")
    assert (report.status, report.target, report.recipe) == ("ok", "main", "xnnpack")


LABELLED = """\
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x):
        return self.linear(x)

def batches():
    torch.manual_seed(1)
    return [[torch.randn(8, 4), torch.arange(8) % 3] for _ in range(2)]

def accuracy(outputs, batch):
    x, labels = batch
    return (outputs.argmax(-1) == labels).float().mean()

"""
METRIC = """\
def handlens_main():
    torch.manual_seed(0)
    return {
        "model": Model(),
        "example_inputs": (torch.randn(8, 4),),
        "calibration": batches(),
        "evaluation": batches(),
        "metric": accuracy,
    }
"""


def test_the_metric_of_a_target_is_measured_of_both_models(run_text: RunText) -> None:
    report = run_text(LABELLED + METRIC)
    assert report.output is not None
    logits, metric = report.output.logits, report.output.metric
    assert logits is not None
    assert logits.rows == 16
    assert logits.top1 > 0.5
    assert metric is not None
    assert metric.name == "accuracy"
    assert metric.reference is not None
    # Of 16 rows.
    assert metric.reference * 16 == int(metric.reference * 16)
    # It is right wherever the quantized model is: both are the reference.
    exact = run_text(LABELLED + METRIC, keep_float=("",))
    assert exact.output is not None
    assert exact.output.metric == Metric("accuracy", metric.reference, metric.reference)
    assert exact.output.logits == LogitsAgreement(1.0, 0.0, 16)


def test_a_configured_target_may_have_a_metric(run_text: RunText, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.handlens.targets.main]\n"
        "model = 'model:Model'\nexample_inputs = 'model:inputs'\n"
        "evaluation = 'model:batches'\nmetric = 'model:accuracy'\n"
    )
    report = run_text(LABELLED + "def inputs():\n    return (torch.randn(8, 4),)\n")
    assert report.output is not None, report.error
    assert report.output.metric is not None
    assert report.output.metric.name == "accuracy"


def test_without_evaluation_a_metric_gets_the_example_inputs(run_text: RunText) -> None:
    text = MODEL + (
        "def mean(outputs, batch):\n"
        "    (x,) = batch\n"
        "    return x.mean()\n"
        "def handlens_main():\n"
        "    return dict(model=Model(), example_inputs=torch.full((2, 4), 0.5), metric=mean)\n"
    )
    report = run_text(text)
    assert report.output is not None, report.error
    assert report.output.metric == Metric("mean", 0.5, 0.5)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "x, labels = batch",
            "x, labels, more = batch",
            "accuracy failed on the outputs of the float model for evaluation batch 1: ValueError",
        ),
        ("x, labels = batch", "import sys; sys.exit(3)", "it called sys.exit(3)"),
        ("x, labels = batch", "import nothing_there", "No module named 'nothing_there'"),
    ],
)
def test_a_metric_that_raises_is_told_on_its_line(
    run_text: RunText, old: str, new: str, said: str
) -> None:
    report = run_text(LABELLED.replace(old, new) + METRIC)
    assert failure(report) == ("HL303", 17)
    assert said in report.findings[0].message


def test_a_metric_that_a_library_raises_in_is_told_at_the_target(run_text: RunText) -> None:
    report = run_text(LABELLED + METRIC.replace("accuracy,", "divmod,"))
    assert failure(report) == ("HL303", 20)
    assert "divmod failed on the outputs" in report.findings[0].message


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("0.9", "gives a float as metric: make it a function metric(outputs, batch)"),
        ("lambda outputs, batch: outputs", "metric returned a Tensor: a metric returns a number"),
        ("lambda outputs, batch: None", "metric returned None"),
    ],
)
def test_a_metric_that_is_none_is_told_at_the_target(
    run_text: RunText, metric: str, said: str
) -> None:
    report = run_text(LABELLED + METRIC.replace("accuracy,", f"{metric},"))
    assert failure(report) == ("HL305", 20)
    assert said in report.findings[0].message


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"net/__init__.py": "from .model import Model\n"}, "net/model.py"),
        (
            {
                "net/__init__.py": "from . import layers\n",
                "net/layers.py": "from .model import Model\n",
            },
            "net/model.py",
        ),
        (
            {"net/__init__.py": "from net.inner import model\n", "net/inner/__init__.py": ""},
            "net/inner/model.py",
        ),
        ({"layers.py": "import model\n"}, "model.py"),
        # In a folder that is no package, it has another name for those who import it from the workspace.
        ({"net/layers.py": "import net.model\n"}, "net/model.py"),
        ({"net/layers.py": "from net.model import Model\nassert Model\n"}, "net/model.py"),
    ],
)
def test_a_target_file_that_others_import_is_executed_once_as_its_editor_has_it(
    run_text: RunText, tmp_path: Path, files: dict[str, str], name: str
) -> None:
    log = tmp_path / "log"
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    executed = "with open({!r}, 'a') as log: log.write('{}\\n')\n"
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(MODEL + executed.format(str(log), "saved"))
    text = MODEL + executed.format(str(log), "edited")
    if any("layers" in file for file in files):
        package = "from . " if (tmp_path / "net/__init__.py").exists() else ""
        text += f"{package}import layers\n"
    report = run_text(
        text + "def handlens_main():\n    return Model(), (torch.randn(2, 4),)\n", name
    )
    assert report.status == "ok", report.error
    assert log.read_text() == "edited\n"


@pytest.mark.parametrize("is_compiled", [False, True])
def test_a_report_says_which_texts_were_executed(
    run_text: RunText, tmp_path: Path, is_compiled: bool
) -> None:
    """Whatever becomes of the files while they are run, and whether or not Python had compiled them."""
    layers, width = tmp_path / "layers.py", tmp_path / "width.py"
    executed = {
        layers: MODEL + "import width\n",
        width: "WIDTH = 4\n",
        tmp_path / "model.py": "import torch\nfrom layers import *\n"
        "for each in ('layers', 'width'):\n"
        f"    open(f'{tmp_path}/{{each}}.py', 'w').write('later\\n')\n"
        "def handlens_main():\n    return Model(), (torch.randn(2, width.WIDTH),)\n",
    }
    layers.write_text(executed[layers].replace("\n", "\r\n"), newline="")
    width.write_text("WIDTH = nothing\n")
    if is_compiled:
        py_compile.compile(str(layers), doraise=True)
    report = run_text(BOM + executed[tmp_path / "model.py"], unsaved={str(width): executed[width]})
    assert report.status == "ok", report.error
    assert {op.span.file for op in report.ops if op.span} == {str(layers)}
    assert report.digests == {str(file): digest(text) for file, text in executed.items()}
    assert layers.read_text() == "later\n"


def test_the_coverage_says_what_was_not_compared_and_why(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn
        from torch._higher_order_ops.map import map as map_over

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 3, 1)
                self.norm = nn.BatchNorm2d(3)

            def forward(self, x):
                x = self.norm(self.conv(x))
                x = torch.cond(x.sum() > 1e9, lambda x: x.cos(), lambda x: x * 2, (x,))
                return map_over(lambda row: row.sin(), x)

        def handlens_main():
            return Model(), (torch.randn(2, 3, 4, 4),)
        """
    )
    assert report.coverage is not None
    reasons = {each.op: each.reason for each in report.coverage.unmatched}
    assert reasons == {
        "aten.batch_norm.default": "folded by the recipe",
        "aten.cos.default": "never executed",
    }
    assert report.coverage.ops == report.coverage.matched + len(reasons)
    # What a recipe folds is as it should be; what cannot be looked into is worth a word.
    assert [(f.rule, f.span and f.span.line) for f in report.findings if f.rule == "HL202"] == [
        ("HL202", 14)
    ]


def test_a_finding_can_be_suppressed_and_an_unused_suppression_is_told(run_text: RunText) -> None:
    text = (
        MODEL.replace("nn.Linear(4, 4)", "nn.Linear(4, 4)  # handlens: ignore")
        + "def handlens_main():\n"
        "    model = Model()\n"
        "    model.linear.weight.data[0] *= 1e6\n"
        "    model.linear.weight.data[:, 0] = 1e-3\n"
        "    return model, (torch.tensor([[1e4, 1, 1, 1], [0, 1, 2, 3.0]]),)\n"
    )
    plain = run_text(text)
    lines = {f.span.line for f in plain.findings if f.span and f.rule.startswith("HL1")}
    assert lines == {10, 12}
    text = text.replace("x).relu()", "x).relu()  # handlens: ignore")
    quiet = run_text(text.replace("main():", "main():  # handlens: ignore[HL105]"))
    assert [(f.rule, f.span and f.span.line) for f in quiet.findings] == [("HL203", 7)]


def test_thresholds_that_were_chosen_are_over_those_that_suit_the_recipe(run_text: RunText) -> None:
    text = MODEL + "def handlens_main():\n    return Model(), (torch.randn(2, 4),)\n"
    project, editor = ChosenThresholds(warning_db=200.0), ChosenThresholds(error_db=300.0)
    for chosen, severity in [
        ((), "information"),
        ((project,), "warning"),
        ((project, editor), "error"),
    ]:
        findings = run_text(text, thresholds=chosen).findings
        assert {f.severity for f in findings} - {"hint"} <= {severity}
        assert chosen == () or findings


# -- what goes wrong -------------------------------------------------------------------------------

TARGET = "def handlens_main():\n    return Model(), (torch.randn(2, 4),)\n"


def test_an_exception_at_import_is_told_on_its_line(run_text: RunText) -> None:
    report = run_text(MODEL + "import no_such_module\n" + TARGET)
    assert failure(report) == ("HL301", 12)
    assert "No module named 'no_such_module'" in report.findings[0].message


def test_sys_exit_at_import_is_told_on_its_line(run_text: RunText) -> None:
    report = run_text(MODEL + "import sys\nsys.exit(3)\n" + TARGET)
    assert failure(report) == ("HL301", 13)
    assert "sys.exit(3)" in report.findings[0].message


def test_an_exception_with_a_broken_message_is_told(run_text: RunText) -> None:
    report = run_text(
        MODEL
        + "class Broken(Exception):\n    def __str__(self):\n        raise self\nraise Broken\n"
        + TARGET
    )
    assert failure(report) == ("HL301", 15)


REASON = "try:\n    {}['torchvision']\nexcept KeyError as error:\n    raise ImportError("


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("'no BertModel') from error", "no BertModel (because of KeyError: 'torchvision')"),
        ("'no BertModel')", "no BertModel (raised while handling KeyError: 'torchvision')"),
        ("f'no {error}') from error", "no 'torchvision'"),
        ("'no BertModel') from None", "no BertModel"),
        ("'no BertModel') from AssertionError()", "no BertModel (because of AssertionError)"),
    ],
)
def test_what_an_exception_comes_from_is_told_once(
    run_text: RunText, raised: str, said: str
) -> None:
    report = run_text(MODEL + REASON + raised + "\n" + TARGET)
    assert failure(report) == ("HL301", 15)
    assert report.findings[0].message == f"Importing model.py failed: ImportError: {said}"


def test_the_root_of_a_chain_is_told_whose_middle_is_not(run_text: RunText) -> None:
    report = run_text(
        MODEL + "try:\n    try:\n        1 / 0\n    except Exception as root:\n"
        "        raise ValueError('inner') from root\nexcept Exception as error:\n"
        "    raise ImportError('outer') from error\n" + TARGET
    )
    assert failure(report) == ("HL301", 18)
    said = "ImportError: outer (because of ZeroDivisionError: division by zero)"
    assert report.findings[0].message == f"Importing model.py failed: {said}"


def test_an_error_in_an_imported_file_is_told_there(run_text: RunText, tmp_path: Path) -> None:
    (tmp_path / "broken_layers.py").write_text("x = 1\ny = (\n")
    report = run_text(MODEL + "import broken_layers\n" + TARGET)
    assert failure(report)[0] == "HL301"
    assert report.error is not None
    assert report.error.span is not None
    assert Path(report.error.span.file).name == "broken_layers.py"
    assert report.error.span.line == 2


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("None", "returned None"),
        ("Model()", "returned a Model"),
        ("(1, 2)", "an int as its model"),
        ("{'model': Model()}", "no example_inputs"),
        ("{'model': Model(), 'example_inputs': (), 'calibrate': []}", "'calibrate'"),
        ("(Model(), 5)", "an int where a tuple of inputs is expected"),
        ("dict(model=Model(), example_inputs=(torch.ones(4),), evaluation=[])", "no evaluation"),
        ("dict(model=Model(), example_inputs=(torch.ones(4),), calibration=[3])", "an int where"),
        (
            "dict(model=Model(), example_inputs=(torch.ones(4),), recipe='x68')",
            "There is no recipe 'x68'. Is it 'x86'?",
        ),
    ],
)
def test_a_target_that_gives_the_wrong_thing_is_told_at_the_target(
    run_text: RunText, returned: str, said: str
) -> None:
    report = run_text(MODEL + f"def handlens_main():\n    return {returned}\n")
    assert failure(report) == ("HL305", 12)
    assert said in report.findings[0].message


def test_control_flow_that_depends_on_data_is_told_on_its_line(run_text: RunText) -> None:
    text = MODEL.replace(
        "        return self", "        if x.sum() > 0:\n            x = x + 1\n        return self"
    )
    report = run_text(text + TARGET)
    assert failure(report) == ("HL302", 10)
    assert "data-dependent" in report.findings[0].message
    assert "torch.where or torch.cond" in report.findings[0].message


@needs_columns
def test_calibration_that_fails_inside_an_op_is_told_on_the_op(run_text: RunText) -> None:
    report = run_text(
        """
        import torch
        from torch import nn

        class Model(nn.Module):
            def forward(self, table, index):
                return (table.relu()[index] + 1)

        def handlens_main():
            good, bad = torch.tensor([0, 1]), torch.tensor([0, 7])
            return {
                "model": Model(),
                "example_inputs": (torch.randn(4), good),
                "calibration": [(torch.randn(4), good), (torch.randn(4), bad)],
            }
        """
    )
    assert failure(report) == ("HL303", 7)
    span = report.findings[0].span
    assert span is not None
    assert (span.column, span.end_column) == (16, 35)
    assert "out of bounds" in report.findings[0].message


def test_an_evaluation_batch_of_another_shape_is_told(run_text: RunText) -> None:
    report = run_text(
        MODEL
        + "def handlens_main():\n    return dict(model=Model(), example_inputs=(torch.ones(2, 4),),"
        " evaluation=[torch.ones(2, 4), torch.ones(2, 5)])\n"
    )
    assert failure(report) == ("HL303", 12)
    assert "evaluation batch 2" in report.findings[0].message


def test_what_tracing_cannot_export_symbolic_execution_may(run_text: RunText) -> None:
    # Tracing runs this with values of its own that must not leave it; symbolic execution drops it.
    report = run_text(
        MODEL.replace(
            "        return self",
            "        if not torch.compiler.is_dynamo_compiling():\n"
            "            raise RuntimeError('only compiled')\n"
            "        return self",
        )
        + TARGET
    )
    assert report.status == "ok", report.error
    assert [op.span and op.span.line for op in report.ops] == [12, 12]


def test_names_shared_with_the_standard_library_do_no_harm(run_text: RunText) -> None:
    report = run_text(MODEL + TARGET, name="random.py")
    assert report.status == "ok", report.error


def test_a_file_in_a_package_may_import_its_neighbours(run_text: RunText, tmp_path: Path) -> None:
    package = tmp_path / "nets"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("from torch import nn\nLayer = nn.Linear\n")
    text = MODEL.replace("nn.Linear", "Layer") + "from .parts import Layer\n" + TARGET
    report = run_text(text, name="nets/model.py")
    assert report.status == "ok", report.error


def test_a_model_from_a_library_is_shown_at_the_target(run_text: RunText) -> None:
    report = run_text(
        """
        import torch

        def handlens_main():
            return torch.nn.Sequential(torch.nn.Linear(4, 4)), (torch.randn(2, 4),)
        """
    )
    (only,) = report.ops
    assert only.span is not None
    assert (only.span.line, only.span.column) == (4, 4)
