"""docs/operators.md says what the code does."""

import pytest
from oracles import operators_page
from oracles.cases import CASES, HAND_MADE, LEFT_OUT, SCOPE


def test_the_page_is_up_to_date():
    assert operators_page.PAGE.read_text(encoding="utf-8") == operators_page.page(), "run `make docs`"


@pytest.mark.parametrize("name", sorted(SCOPE))
def test_what_the_specification_calls_differentiable_has_a_gradient_and_a_case(name):
    assert operators_page.how(name) is not None
    models = [model for model, _ in CASES.values()] + list(HAND_MADE.values())
    assert name in {model.graph.node[0].op_type for model in models} | LEFT_OUT
