"""Which outputs look like logits, and what is measured of them."""

from __future__ import annotations

import itertools
import math
from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from handlens.advice_report import LogitsAgreement
from handlens.capture.export import capture
from handlens.comparison.compared import Outputs
from handlens.comparison.logits import Logits, LogitsStatistics, find_logits

X = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
PICTURE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
IDS = torch.arange(12).reshape(2, 6)

LOGITS = Logits(0, are_probabilities=False)
PROBABILITIES = Logits(0, are_probabilities=True)


# -- what looks like logits ------------------------------------------------------------------------


class Head(nn.Module):
    """Calls ``finish`` with the result of one layer."""

    def __init__(self, layer: nn.Module, finish: Any) -> None:
        super().__init__()
        self.head = layer
        self._finish = finish

    def forward(self, x: Tensor) -> Any:
        return self._finish(self.head(x))


class BoxHead(Head):
    pass


class LogisticRegression(Head):
    pass


class EncoderForClassification(Head):
    pass


class Twice(nn.Module):
    """Two linear layers, whose results ``give`` puts together."""

    def __init__(self, give: Any) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 5), nn.Linear(8, 4)
        self._give = give

    def forward(self, x: Tensor) -> Any:
        return self._give(self.first(x), self.second(x))


Pair = namedtuple("Pair", ["boxes", "logits"])


@dataclass
class Named:
    logits: Tensor
    hidden: Tensor


@dataclass
class Checked:
    logits: Tensor
    hidden: Tensor

    def __post_init__(self) -> None:
        assert self.logits.shape[-1] == 5


for each in (Named, Checked):
    torch.export.register_dataclass(each)


def linear(finish: Any = lambda y: y, classes: int = 5) -> nn.Module:
    return Head(nn.Linear(8, classes), finish)


def found(model: nn.Module, *inputs: Tensor, **options: Any) -> Logits | None:
    return find_logits(capture(model.eval(), inputs, options), model)


@pytest.mark.parametrize(
    ("model", "inputs", "expected"),
    [
        (linear(), X, LOGITS),
        (linear(lambda y: y.view(-1, 5)), X, LOGITS),
        (linear(lambda y: y[:, -1]), X, LOGITS),
        (linear(lambda y: y.unsqueeze(0).half().float()), X, LOGITS),
        (linear(lambda y: {"scores": nn.functional.dropout(y, 0.1, False)}), X, LOGITS),
        (linear(lambda y: y.log_softmax(-1)), X, LOGITS),
        (linear(lambda y: y.softmax(2)), X, PROBABILITIES),
        (linear(lambda y: (y, y.argmax(-1))), X, LOGITS),
        # A softmax leaves no doubt, whatever the shape.
        (linear(lambda y: y.softmax(-1), classes=8), X, PROBABILITIES),
        (LogisticRegression(nn.Linear(8, 5), lambda y: y), X, LOGITS),
        # Nor does a name.
        (EncoderForClassification(nn.Linear(8, 8), lambda y: y), X, LOGITS),
        (linear(lambda y: {"logits": y}, classes=8), X, LOGITS),
        (Head(nn.Conv2d(3, 5, 8), lambda y: y.flatten(1)), PICTURE, LOGITS),
        (Head(nn.Conv2d(3, 5, 8), lambda y: y[..., 0, 0].softmax(1)), PICTURE, PROBABILITIES),
        (Twice(lambda a, b: {"boxes": a, "logits": b}), X, Logits(1, False)),
        (Twice(Pair), X, Logits(1, False)),
        (Twice(lambda a, b: Named(a.log_softmax(-1), b)), X, LOGITS),
        (Twice(Checked), X, LOGITS),
    ],
)
def test_rows_of_a_last_layer_are_logits(model: nn.Module, inputs: Tensor, expected: Any) -> None:
    assert found(model, inputs) == expected


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        # One score is no choice.
        (linear(classes=1), X),
        # A reconstruction has the shape of the input.
        (nn.Sequential(nn.Linear(8, 2), nn.Linear(2, 8)), X),
        # A layer as others before it.
        (nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4)), X),
        # Something follows the layer.
        (linear(torch.sigmoid), X),
        (linear(lambda y: nn.functional.normalize(y, dim=-1)), X),
        (linear(lambda y: y * 100 + 20), X),
        # The last dimension is not that of the classes.
        (linear(lambda y: y.mT), X),
        (linear(lambda y: y.reshape(2, 5, 6)), X),
        (linear(lambda y: y[..., 0]), X[:, :5]),
        (linear(lambda y: y.softmax(1)), X),
        (Head(nn.Conv2d(3, 5, 1), lambda y: y), PICTURE),
        (Head(nn.Conv2d(3, 5, 1), lambda y: y.flatten(1)), PICTURE),
        (Head(nn.Conv2d(3, 5, 8), lambda y: y), PICTURE),
        # A name tells of something else.
        (BoxHead(nn.Linear(8, 4), lambda y: y), X),
        (linear(lambda y: {"embedding": y}), X),
        # Of two outputs, neither has a name.
        (Twice(lambda a, b: (a, b)), X),
        # What is named logits does not come from a layer.
        (Twice(lambda a, b: {"logits": a @ a.mT, "boxes": b}), X),
        # No floating point output.
        (linear(lambda y: y.argmax(-1)), X),
    ],
)
def test_where_there_is_doubt_nothing_looks_like_logits(model: nn.Module, inputs: Tensor) -> None:
    assert found(model, inputs) is None


def test_a_layer_that_is_named_for_something_else_gives_no_logits() -> None:
    model = nn.Sequential()
    model.add_module("projection", nn.Linear(8, 5))
    assert found(model, X) is None


@pytest.mark.slow
def test_of_transformers_the_output_named_logits_counts() -> None:
    small = {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "vocab_size": 50,
    }  # fmt: skip
    bert = BertConfig(**small)
    assert found(BertForSequenceClassification(bert), IDS) == LOGITS
    assert found(BertModel(bert), IDS) is None
    gpt = GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, bos_token_id=0, eos_token_id=0)
    assert found(GPT2LMHeadModel(gpt), IDS, use_cache=False) == LOGITS


# -- how far logits agree --------------------------------------------------------------------------


def agreement(*pairs: tuple[Any, Any], logits: Logits | None = LOGITS) -> LogitsAgreement | None:
    statistics = LogitsStatistics(logits)
    for reference, actual in pairs:
        statistics.add(Outputs([torch.as_tensor(reference)], [torch.as_tensor(actual)]))
    return statistics.result


def test_rows_agree_where_the_largest_score_is_of_the_same_class() -> None:
    reference = [[1.0, 2.0, 0.0], [5.0, 2.0, 0.0], [0.0, 1.0, 2.0], [0.0, 3.0, 2.0]]
    actual = [[1.0, 9.0, 0.0], [5.0, 2.0, 6.0], [0.0, 1.0, 2.0], [3.0, 3.0, 2.0]]
    result = agreement((reference, actual))
    assert result is not None
    # Quantized scores are often equal: the first one counts, as with argmax.
    assert (result.top1, result.rows) == (0.5, 4)


def test_the_divergence_is_that_of_torch_averaged_over_the_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(7, 3, 11, generator=generator) * 4
    actual = reference + torch.randn(7, 3, 11, generator=generator)
    result = agreement((reference, actual))
    assert result is not None
    assert result.rows == 21
    wanted, given = (each.double().flatten(0, 1).log_softmax(-1) for each in (reference, actual))
    expected = nn.functional.kl_div(given, wanted, reduction="batchmean", log_target=True)
    assert result.kl_divergence == pytest.approx(float(expected), rel=1e-12)


def test_outputs_after_a_softmax_diverge_as_those_before_it_do() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    actual = reference + 0.1 * torch.randn(5, 4, generator=generator, dtype=torch.float64)
    expected = agreement((reference, actual))
    after = agreement((reference.softmax(-1), actual.softmax(-1)), logits=PROBABILITIES)
    log = agreement((reference.log_softmax(-1), actual.log_softmax(-1)))
    assert expected is not None
    for result in (after, log):
        assert result is not None
        assert result.top1 == expected.top1
        assert result.kl_divergence == pytest.approx(expected.kl_divergence, rel=1e-9)


def test_equal_logits_do_not_diverge() -> None:
    rows = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    assert agreement((rows, rows)) == LogitsAgreement(1.0, 0.0, 9)
    # Of a class that both mask, nothing is lost.
    masked = rows.index_fill(1, torch.tensor([2]), -math.inf)
    assert agreement((masked, masked)) == LogitsAgreement(1.0, 0.0, 9)


def test_batches_in_any_order_give_the_same_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [
        (x, x + torch.randn(*x.shape, generator=generator))
        for x in (torch.randn(n, 6, generator=generator) * 9 for n in (1, 40, 3, 17))
    ]
    results = {agreement(*order) for order in itertools.permutations(pairs)}
    assert len(results) == 1


def test_many_rows_are_looked_at_block_by_block() -> None:
    generator = torch.Generator().manual_seed(0)
    reference = torch.randn(700, 1000, generator=generator)
    actual = reference + torch.randn(700, 1000, generator=generator)
    whole = agreement((reference, actual))
    parts = agreement(*zip(reference.split(100), actual.split(100)))
    assert whole is not None
    assert parts is not None
    assert (whole.top1, whole.rows) == (parts.top1, parts.rows)
    assert whole.kl_divergence == pytest.approx(parts.kl_divergence, rel=1e-14)


def test_what_is_not_finite_is_told_from_what_agrees() -> None:
    nan, inf = math.nan, math.inf
    # A row without a softmax in the reference is left out.
    result = agreement(([[nan, 1.0], [1.0, 2.0], [inf, 0.0]], [[0.0, 1.0], [1.0, 2.0], [1.0, 0.0]]))
    assert result == LogitsAgreement(1.0, 0.0, 1)
    # A quantized model that gives NaN has no class.
    assert agreement(([[1.0, 2.0]], [[1.0, nan]])) == LogitsAgreement(0.0, None, 1)
    # A class that is impossible only in the quantized model diverges without end.
    assert agreement(([[1.0, 2.0]], [[-inf, 2.0]])) == LogitsAgreement(1.0, None, 1)


def test_what_cannot_be_compared_has_no_agreement() -> None:
    assert agreement() is None
    assert agreement(([[1.0, 2.0]], [[1.0, 2.0]]), logits=None) is None
    assert agreement(([[1.0, 2.0]], [[1.0, 2.0]]), ([[1.0, 2.0]], [[1.0, 2.0], [0.0, 1.0]])) is None
    assert agreement((torch.zeros(0, 3), torch.zeros(0, 3))) is None
