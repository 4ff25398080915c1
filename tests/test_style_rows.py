"""The rows of any network: read by the layers' type, replaced without copying the rest."""

import copy

import pytest
import torch
from torch import Tensor, nn

from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d
from polystyle.networks.style_rows import check_has_rows, rows_of, with_rows


class Nested(nn.Module):
    """CIN layers at different depths, whatever they are called, and a parameter called gamma."""

    def __init__(self, num_conditions: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(3))
        self.first = nn.Conv2d(3, 4, 1)
        self.inner = nn.ModuleDict(
            {"a": nn.ModuleList([ConditionalInstanceNorm2d(4, num_conditions)])}
        )
        self.last = ConditionalInstanceNorm2d(4, num_conditions)
        self.register_buffer("steps", torch.tensor(5.0))
        self.shared = self.first  # the same layer under a second name

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        x = self.inner["a"][0](self.first(x), condition)
        return self.last(self.shared.weight.sum() * x, condition)


@pytest.fixture
def net() -> Nested:
    net = Nested(3)
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    return net.eval()


def test_rows_are_found_by_the_type_of_their_layer(net: Nested) -> None:
    rows = rows_of(net)
    assert list(rows) == ["inner.a.0.gamma", "inner.a.0.beta", "last.gamma", "last.beta"]
    for name, table in rows.items():
        assert table.data_ptr() == net.get_parameter(name).data_ptr()
        assert not table.requires_grad


def test_a_layer_of_its_own_has_rows() -> None:
    assert list(rows_of(ConditionalInstanceNorm2d(4, 2))) == ["gamma", "beta"]


def test_other_rows_share_all_else(net: Nested) -> None:
    before = copy.deepcopy(net.state_dict())
    rows = {name: torch.randn(5, table.shape[1]) for name, table in rows_of(net).items()}
    other = with_rows(net, rows)
    assert type(other) is Nested
    assert not other.training
    for name, tensor in other.state_dict().items():
        if name in rows:
            assert torch.equal(tensor, rows[name])
        else:
            assert tensor.data_ptr() == net.state_dict()[name].data_ptr()
    assert other.shared is other.first
    x, condition = torch.randn(2, 3, 8, 8), torch.tensor([4, 1])
    assert other(x, condition).shape == (2, 4, 8, 8)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_the_same_rows_give_the_same_output(net: Nested) -> None:
    order = torch.tensor([2, 0])
    other = with_rows(net, {name: table[order] for name, table in rows_of(net).items()})
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(other(x, torch.tensor([0, 1])), net(x, order))


def test_freezing_one_network_leaves_the_other_alone(net: Nested) -> None:
    net.first.bias.requires_grad_(False)
    other = with_rows(net, rows_of(net))
    assert not other.first.bias.requires_grad
    other.requires_grad_(False)
    assert net.first.weight.requires_grad
    assert net.last.gamma.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop("last.beta"), "not those of this network's layers"),
        (lambda rows: rows.update(extra=torch.ones(3, 4)), "not those of this network's layers"),
        (lambda rows: rows.update({"last.beta": torch.ones(3, 5)}), "do not have the shape"),
        (lambda rows: rows.update({"last.beta": torch.ones(2, 4)}), "do not have the shape"),
        (lambda rows: rows.update({"last.beta": torch.ones(4)}), "do not have the shape"),
    ],
)
def test_rows_that_do_not_fit_are_refused(net: Nested, change: object, message: str) -> None:
    rows = rows_of(net)
    change(rows)
    with pytest.raises(ValueError, match=message):
        with_rows(net, rows)


def test_a_network_without_the_layer_is_refused(net: Nested) -> None:
    check_has_rows(net)
    with pytest.raises(ValueError, match="Conv2d has no ConditionalInstanceNorm2d layer"):
        check_has_rows(nn.Conv2d(3, 3, 1))
