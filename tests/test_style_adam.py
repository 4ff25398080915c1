"""StyleAdam: torch's Adam for what is there, and nothing at all for a style that is absent."""

import copy
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Adam

from polystyle.training.style_adam import StyleAdam


def make_parameters(styles: int = 3) -> tuple[list[Parameter], list[Parameter]]:
    torch.manual_seed(0)
    shared = [Parameter(torch.randn(4, 3, dtype=torch.float64))]
    rows = [Parameter(torch.randn(styles, each, dtype=torch.float64)) for each in (5, 5, 2)]
    return shared, rows


def set_gradients(parameters: list[Parameter], absent: tuple[int, ...] = ()) -> None:
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
        parameter.grad[list(absent)] = 0


def test_with_every_style_in_every_batch_it_is_torchs_adam() -> None:
    shared, rows = make_parameters()
    copies = copy.deepcopy([*shared, *rows])
    ours, reference = StyleAdam(shared, rows, lr=0.01), Adam(copies, lr=0.01, foreach=False)
    for _ in range(20):
        set_gradients([*shared, *rows])
        for parameter, twin in zip([*shared, *rows], copies, strict=True):
            twin.grad = parameter.grad.clone()
        ours.step()
        reference.step()
    for parameter, twin in zip([*shared, *rows], copies, strict=True):
        torch.testing.assert_close(parameter, twin, rtol=1e-10, atol=1e-12)


@given(st.lists(st.sets(st.integers(0, 3), min_size=1), min_size=1, max_size=12))
def test_each_style_steps_like_an_adam_that_only_sees_the_batches_it_is_in(
    batches: list[set[int]],
) -> None:
    shared, rows = make_parameters(styles=4)
    ours = StyleAdam(shared, rows, lr=0.01)
    alone = [[Parameter(row[style].detach().clone()) for row in rows] for style in range(4)]
    adams = [Adam(parameters, lr=0.01, foreach=False) for parameters in alone]
    for batch in batches:
        set_gradients(shared)
        set_gradients(rows, absent=tuple({0, 1, 2, 3} - batch))
        for style in batch:
            for parameter, row in zip(alone[style], rows, strict=True):
                parameter.grad = row.grad[style].clone()
            adams[style].step()
        ours.step()
    for style, parameters in enumerate(alone):
        for parameter, row in zip(parameters, rows, strict=True):
            torch.testing.assert_close(row[style].detach(), parameter.detach(), rtol=1e-9, atol=0)


def test_rows_learn_at_a_rate_of_their_own() -> None:
    shared, rows = make_parameters()
    slow = StyleAdam(copy.deepcopy(shared), copy.deepcopy(rows), lr=0.01)
    fast = StyleAdam(shared, rows, lr=0.01, style_lr_multiplier=5.0)
    before = [parameter.detach().clone() for parameter in (*shared, *rows)]
    set_gradients([*shared, *rows])
    (group,) = slow.param_groups
    for parameter, twin in zip([*shared, *rows], group["params"], strict=True):
        twin.grad = parameter.grad.clone()
    slow.step()
    fast.step()
    for was, quick, twin in zip(before, [*shared, *rows], group["params"], strict=True):
        times = 1 if quick is shared[0] else 5
        torch.testing.assert_close(quick - was, times * (twin - was))


def test_an_absent_style_keeps_its_values_and_moments_bit_for_bit() -> None:
    shared, rows = make_parameters()
    optimizer = StyleAdam(shared, rows, lr=0.01)
    for _ in range(3):
        set_gradients([*shared, *rows])
        optimizer.step()

    def all_of_style(index: int) -> list[Tensor]:
        moments = optimizer.state[rows[0]].values()
        return [each[index].detach().clone() for each in (*rows, *moments)]

    before = all_of_style(1)
    for _ in range(3):
        set_gradients(shared)
        set_gradients(rows, absent=(1,))
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, all_of_style(1), strict=True))
    assert not any(torch.equal(a, b) for a, b in pairwise([before[0], *all_of_style(0)[:1]]))


def test_a_style_that_was_never_seen_stays_finite() -> None:
    shared, rows = make_parameters()
    optimizer = StyleAdam(shared, rows, lr=0.01)
    before = [row.detach().clone() for row in rows]
    set_gradients(shared)
    set_gradients(rows, absent=(0, 1, 2))
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, rows, strict=True))


def test_gradients_are_still_there_after_a_step_and_the_closure_computes_them_first() -> None:
    shared, rows = make_parameters()
    optimizer = StyleAdam(shared, rows, lr=0.01)

    def closure() -> Tensor:
        assert torch.is_grad_enabled()
        loss = sum(parameter.square().sum() for parameter in [*shared, *rows])
        loss.backward()
        return loss

    expected = [2 * parameter.detach() for parameter in [*shared, *rows]]
    assert optimizer.step(closure) > 0
    for parameter, gradient in zip([*shared, *rows], expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e200])
@pytest.mark.parametrize("place", [0, 1])
def test_a_step_whose_gradient_is_not_finite_changes_nothing_and_is_counted(
    place: int, value: float
) -> None:
    shared, rows = make_parameters()
    everything = [*shared, *rows]
    optimizer = StyleAdam(shared, rows, lr=0.01)

    def all_there_is() -> list[Tensor]:
        moments = [each for state in optimizer.state.values() for each in state.values()]
        return [each.detach().clone() for each in (*everything, *moments)]

    for is_bad in (False, True, True, False, True):
        set_gradients(everything)
        if is_bad:
            everything[place].grad[0, 0] = value
        before = all_there_is()
        optimizer.step()
        same = [torch.equal(a, b) for a, b in zip(before, all_there_is(), strict=False)]
        assert all(same) if is_bad else not any(same[: len(everything)])
    assert optimizer.skipped == 3
    assert optimizer.skipped_in_a_row == 1


def test_a_first_step_that_is_skipped_leaves_no_trace() -> None:
    ours, twins = make_parameters(), make_parameters()
    optimizer, twin = StyleAdam(*ours, lr=0.01), StyleAdam(*twins, lr=0.01)
    set_gradients([*ours[0], *ours[1]])
    ours[0][0].grad[0, 0] = float("nan")
    optimizer.step()
    torch.manual_seed(1)
    for parameter, other in zip([*ours[0], *ours[1]], [*twins[0], *twins[1]], strict=True):
        parameter.grad = torch.randn_like(parameter)
        other.grad = parameter.grad.clone()
    optimizer.step()
    twin.step()
    for parameter, other in zip([*ours[0], *ours[1]], [*twins[0], *twins[1]], strict=True):
        assert torch.equal(parameter, other)


def test_a_resumed_optimizer_goes_on_bit_for_bit() -> None:
    def run(resume_at: int | None) -> list[Parameter]:
        shared, rows = make_parameters()
        optimizer = StyleAdam(shared, rows, lr=0.01)
        torch.manual_seed(1)
        for step in range(6):
            if step == resume_at:
                state = copy.deepcopy(optimizer.state_dict())
                optimizer = StyleAdam(shared, rows, lr=0.5)
                optimizer.load_state_dict(state)
            set_gradients(shared)
            set_gradients(rows, absent=(step % 3,))
            optimizer.step()
        return [*shared, *rows]

    for whole, resumed in zip(run(None), run(3), strict=True):
        assert torch.equal(whole, resumed)
