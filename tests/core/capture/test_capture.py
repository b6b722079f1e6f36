"""Spans: every operation knows the source expressions that called it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest
import torch
from torch._dynamo.output_graph import SubgraphTracer

from handlens.capture.export import Captured, capture
from handlens.capture.nodes import graph_modules
from handlens.report import Span
from tests.handle_models import CASES
from tests.needs import needs_columns, needs_spans_of_asserts

STRICTNESS = pytest.mark.parametrize("strict", [False, True], ids=["non-strict", "strict"])
Write = Callable[[str, str], ModuleType]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module and imports it, under its own file name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def module(name: str, text: str) -> ModuleType:
        file = tmp_path / f"{name}.py"
        file.write_text("import torch\nfrom torch import nn\n" + dedent(text), "utf-8")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = loaded = importlib.util.module_from_spec(spec)
        names.append(name)
        spec.loader.exec_module(loaded)
        return loaded

    yield module
    for name in names:
        del sys.modules[name]


def text_under(span: Span) -> str:
    lines = Path(span.file).read_text("utf-8").split("\n")[span.line - 1 : span.end_line]
    lines[-1] = lines[-1][: span.end_column]
    lines[0] = lines[0][span.column :]
    return "\n".join(lines)


def chains(captured: Captured) -> dict[str, list[str]]:
    """The texts of the spans of every operation, innermost first, by node name."""
    return {
        node.name: [text_under(span) for span in captured.spans(node)]
        for graph_module in graph_modules(captured.program)
        for node in graph_module.graph.nodes
        if node.op == "call_function"
    }


@needs_columns
@STRICTNESS
def test_expressions_on_one_line_are_told_apart(write: Write, strict: bool) -> None:
    model = write(
        "one_line",
        """
        class Model(nn.Module):
            def forward(self, x):
                return torch.relu(x) + 1
        """,
    ).Model()
    captured = capture(model, (torch.randn(3),), strict=strict)
    assert chains(captured) == {"relu": ["torch.relu(x)"], "add": ["torch.relu(x) + 1"]}
    relu, add = (n for n in captured.program.graph.nodes if n.op == "call_function")
    assert (captured.spans(relu)[0].column, captured.spans(relu)[0].end_column) == (15, 28)
    assert (captured.spans(add)[0].column, captured.spans(add)[0].end_column) == (15, 32)


@needs_columns
@STRICTNESS
def test_the_chain_leads_through_helpers_loops_and_files(write: Write, strict: bool) -> None:
    write(
        "layers",
        """
        class Block(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(4, 4)

            def forward(self, x):
                return self.activate(self.linear(x))

            def activate(self, x):
                return x.sigmoid()
        """,
    )
    model = write(
        "network",
        """
        from layers import Block

        class Network(nn.Module):
            def __init__(self):
                super().__init__()
                self.blocks = nn.ModuleList([Block(), Block()])

            def forward(self, x):
                for block in self.blocks:
                    x = block(x)
                return x
        """,
    ).Network()
    captured = capture(model, (torch.randn(2, 4),), strict=strict)
    linear = ["self.linear(x)", "block(x)"]
    sigmoid = ["x.sigmoid()", "self.activate(self.linear(x))", "block(x)"]
    assert chains(captured) == {
        "linear": linear,
        "sigmoid": sigmoid,
        "linear_1": linear,
        "sigmoid_1": sigmoid,
    }
    node = next(n for n in captured.program.graph.nodes if n.name == "sigmoid")
    spans = captured.spans(node)
    assert [Path(span.file).name for span in spans] == ["layers.py", "layers.py", "network.py"]
    assert [span.function.rpartition(".")[2] for span in spans] == [
        "activate",
        "forward",
        "forward",
    ]


def test_equal_code_in_two_files_is_told_apart(write: Write) -> None:
    layer = """
        class Layer(nn.Module):
            def forward(self, x):
                return x.sigmoid()
        """
    write("left", layer)
    write("right", layer)
    model = write(
        "both",
        """
        import left, right

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.left, self.right = left.Layer(), right.Layer()

            def forward(self, x):
                return self.left(x), self.right(x)
        """,
    ).Model()
    captured = capture(model, (torch.randn(3),))
    called = [n for n in captured.program.graph.nodes if n.op == "call_function"]
    files = [Path(captured.spans(node)[0].file).name for node in called]
    assert files == ["left.py", "right.py"]


@needs_columns
@STRICTNESS
def test_every_kind_of_call_has_its_own_columns(write: Write, strict: bool) -> None:
    model = write(
        "kinds",
        """
        class Model(nn.Module):
            def forward(self, x):
                y = x[:, 0] * 2 - x.mean(-1)
                y += 3
                first, second = torch.split(
                    x @ x.transpose(1, 2),
                    1,
                    dim=1,
                )
                return -y, "é𝄞" and first * second
        """,
    ).Model()
    captured = capture(model, (torch.randn(2, 2, 2),), strict=strict)
    found = {name: texts[0] for name, texts in chains(captured).items()}
    assert found["split"] == (
        "torch.split(\n            x @ x.transpose(1, 2),\n            1,\n            dim=1,\n        )"
    )
    assert found["select"] == "x[:, 0]"
    assert found["mul"] == "x[:, 0] * 2"
    assert found["sub"] == "x[:, 0] * 2 - x.mean(-1)"
    assert found["add_"] == "y += 3"
    assert found["transpose"] == "x.transpose(1, 2)"
    assert found["matmul"] == "x @ x.transpose(1, 2)"
    assert found["neg"] == "-y"
    # Columns are code points: the compiler counts the bytes of é and 𝄞.
    assert found["mul_1"] == "first * second"


@needs_columns
@needs_spans_of_asserts
@STRICTNESS
def test_what_export_asserts_of_a_conversion_has_the_span_of_the_conversion(
    write: Write, strict: bool
) -> None:
    model = write(
        "conversions",
        """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(3, dtype=torch.float16))

            def forward(self, x):
                y = x.exp()
                torch._assert_tensor_metadata(y, dtype=torch.float32); z = y.double()
                return x.half().float() + y.to(torch.float64) * self.weight.float() + z
        """,
    ).Model()
    captured = capture(model, (torch.randn(3),), strict=strict)
    found = [
        (texts[0], name.startswith("_assert"))
        for name, texts in chains(captured).items()
        if name.startswith(("_assert", "to"))
    ]
    assert found == [
        ("torch._assert_tensor_metadata(y, dtype=torch.float32)", True),
        ("y.double()", False),
        ("x.half()", True),
        ("x.half()", False),
        ("x.half().float()", True),
        ("x.half().float()", False),
        ("y.to(torch.float64)", True),
        ("y.to(torch.float64)", False),
        ("self.weight.float()", True),
        ("self.weight.float()", False),
    ]


@needs_columns
def test_a_generator_is_run_by_what_reads_it(write: Write) -> None:
    model = write(
        "generators",
        """
        def total(values):
            return sum(value.cos() for value in values)

        class Model(nn.Module):
            def forward(self, x):
                values = (each.sin() for each in (x, x + 1))
                return total(values) + 2
        """,
    ).Model()
    run, traced = (chains(capture(model, (torch.randn(3),), strict=each)) for each in (False, True))
    assert traced == run
    # The next value is fetched by what Python takes for the instruction's expression.
    generator = "values" if sys.version_info >= (3, 13) else "(value.cos() for value in values)"
    assert run["sin"] == [
        "each.sin()",
        generator,
        "sum(value.cos() for value in values)",
        "total(values)",
    ]


def test_what_is_not_annotated_has_the_lines_of_its_stack_trace(write: Write) -> None:
    model = write(
        "lines",
        """
        class Model(nn.Module):
            def forward(self, x):
                return self.both(x.exp())

            def both(self, x):
                return x.exp() + torch.add(
                    x.exp(), 1
                )
        """,
    ).Model()
    program = torch.export.export(model, (torch.randn(3),), strict=True)
    found = chains(Captured(program, True, ()))
    outer = "return self.both(x.exp())"
    assert found["exp"] == [outer]
    assert found["exp_1"] == ["return x.exp() + torch.add(", outer]
    assert found["exp_2"] == ["x.exp(), 1", outer]


def test_dynamo_is_as_it_was_after_a_capture(write: Write) -> None:
    model = write(
        "raising",
        """
        class Model(nn.Module):
            def forward(self, x):
                raise LookupError("no such thing")
        """,
    ).Model()
    create_proxy = SubgraphTracer.create_proxy
    with pytest.raises(torch._dynamo.exc.Unsupported, match="no such thing"):
        capture(model, (torch.randn(2),), strict=True)
    assert SubgraphTracer.create_proxy is create_proxy


@needs_columns
def test_a_library_call_aggregates_what_happens_inside(write: Write) -> None:
    model = write(
        "attention",
        """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.attention = nn.MultiheadAttention(4, 2)

            def forward(self, x):
                return self.attention(x, x, x)[0] + 1
        """,
    ).Model()
    found = chains(capture(model.eval(), (torch.randn(3, 4),)))
    assert found.pop("add") == ["self.attention(x, x, x)[0] + 1"]
    assert len(found) > 10
    assert set(map(tuple, found.values())) == {("self.attention(x, x, x)",)}


@needs_columns
@STRICTNESS
def test_operations_in_control_flow_bodies_have_their_own_lines(strict: bool) -> None:
    model, inputs = CASES["cond-in-map"]
    found = chains(capture(model(), inputs, strict=strict))
    mapped = "map_over(body, xs, y)"
    cond = "torch.cond(x.sum() > 0, when_positive, otherwise, (x,))"
    assert found["sin"] == ["x.sin()", cond, mapped]
    assert found["cos"] == ["x.cos()", cond, mapped]
    assert found["mul"] == [f"{cond} * y", mapped]


@needs_columns
def test_spans_survive_module_and_decomposition(write: Write) -> None:
    model = write(
        "linear",
        """
        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = nn.Linear(4, 4)

            def forward(self, x):
                return self.linear(x)
        """,
    ).Model()
    captured = capture(model, (torch.randn(2, 4),))
    for program in (captured.program.module(), captured.program.run_decompositions()):
        called = [n for n in program.graph.nodes if n.op == "call_function"]
        assert called
        assert {text_under(captured.spans(n)[0]) for n in called} == {"self.linear(x)"}


def test_capture_raises_what_the_model_raises(write: Write) -> None:
    model = write(
        "broken",
        """
        class Model(nn.Module):
            def forward(self, x):
                raise LookupError("no such thing")
        """,
    ).Model()
    with pytest.raises(LookupError, match="no such thing"):
        capture(model, (torch.randn(2),))
