"""The network: the published one, any size of photo, and styles only in gamma and beta."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from polystyle.networks.conditional_instance_norm import ConditionalInstanceNorm2d
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import TransformerNet


def make_net(num_styles: int = 3, width: float = 0.125) -> TransformerNet:
    """A small network whose styles all differ."""
    net = TransformerNet(num_styles, width)
    with torch.no_grad():
        for norm in norms(net):
            norm.gamma.normal_(mean=1, std=0.5)
            norm.beta.normal_(std=0.5)
    return net


def norms(net: TransformerNet) -> list[ConditionalInstanceNorm2d]:
    return [module for module in net.modules() if isinstance(module, ConditionalInstanceNorm2d)]


def convolutions(net: TransformerNet) -> list[nn.Conv2d]:
    return [module for module in net.modules() if isinstance(module, nn.Conv2d)]


def paint_by_hand(net: TransformerNet, photo: Tensor, style: int) -> Tensor:
    """The published network once more, from its table and the network's numbers."""
    rows = iter(
        (conv.weight, norm.gamma[style], norm.beta[style])
        for conv, norm in zip(convolutions(net), norms(net), strict=True)
    )

    def layer(x: Tensor, stride: int = 1) -> Tensor:
        weight, gamma, beta = next(rows)
        border = weight.shape[-1] // 2
        x = F.conv2d(F.pad(x, [border] * 4, mode="reflect"), weight, stride=stride)
        return F.instance_norm(x, weight=gamma, bias=beta)

    x = layer(photo).relu()
    x = layer(x, stride=2).relu()
    x = layer(x, stride=2).relu()
    for _ in range(5):
        x = x + layer(layer(x).relu())
    for _ in range(2):
        x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x = layer(x).relu()
    return layer(x).sigmoid()


@pytest.mark.parametrize("num_styles", [1, 7])
def test_has_the_published_number_of_parameters(num_styles: int) -> None:
    net = TransformerNet(num_styles)
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == 1_674_432 + 3_206 * num_styles
    assert sum(norm.gamma[0].numel() + norm.beta[0].numel() for norm in norms(net)) == 3_206


def test_layers_are_those_of_the_published_table() -> None:
    net = TransformerNet(2)
    table = [
        (conv.in_channels, conv.out_channels, *conv.kernel_size, *conv.stride)
        for conv in convolutions(net)
    ]
    assert table == [
        (3, 32, 9, 9, 1, 1),
        (32, 64, 3, 3, 2, 2),
        (64, 128, 3, 3, 2, 2),
        *[(128, 128, 3, 3, 1, 1)] * 10,
        (128, 64, 3, 3, 1, 1),
        (64, 32, 3, 3, 1, 1),
        (32, 3, 9, 9, 1, 1),
    ]
    assert all(conv.padding_mode == "reflect" for conv in convolutions(net))
    assert all(conv.bias is None for conv in convolutions(net))
    outs = [conv.out_channels for conv in convolutions(net)]
    assert [norm.num_features for norm in norms(net)] == outs


@pytest.mark.parametrize("size", [(24, 20), (25, 18)])
def test_paints_what_the_published_network_paints(size: tuple[int, int]) -> None:
    net = make_net().double()
    photo = torch.rand(1, 3, *size, dtype=torch.float64)
    right, below = -size[1] % 4, -size[0] % 4
    mirrored = F.pad(photo, (0, right, 0, below), mode="reflect")
    for style in range(3):
        by_hand = paint_by_hand(net, mirrored, style)[:, :, : size[0], : size[1]]
        torch.testing.assert_close(net(photo, torch.tensor([style])), by_hand)


@settings(max_examples=12)
@given(height=st.integers(16, 70), width=st.integers(16, 70))
@example(height=16, width=16)
@example(height=17, width=19)
def test_any_size_comes_back_the_same_size_in_0_to_1(height: int, width: int) -> None:
    torch.manual_seed(height * 100 + width)
    picture = make_net()(torch.rand(2, 3, height, width), torch.tensor([0, 2]))
    assert picture.shape == (2, 3, height, width)
    assert picture.min() >= 0
    assert picture.max() <= 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 15, 16), "a 16 x 15 image is too small: both sides must be at least 16 pixels"),
        ((1, 3, 64, 15), "a 15 x 64 image is too small"),
        ((1, 1, 32, 32), r"content must be \[B, 3, H, W\], not \[1, 1, 32, 32\]"),
        ((1, 4, 32, 32), r"content must be \[B, 3, H, W\], not \[1, 4, 32, 32\]"),
        ((3, 32, 32), r"content must be \[B, 3, H, W\], not \[3, 32, 32\]"),
    ],
)
def test_photo_that_does_not_fit_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_net()(torch.rand(shape), torch.tensor([0]))


@pytest.mark.parametrize(
    ("num_styles", "width", "message"),
    [(0, 1.0, "num_styles must be"), (1, 0.0, "width must be"), (1, -1.0, "width must be")],
)
def test_network_without_styles_or_channels_is_refused(
    num_styles: int, width: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TransformerNet(num_styles, width)


def test_without_different_rows_all_styles_paint_the_same() -> None:
    net = make_net()
    with torch.no_grad():
        for norm in norms(net):
            norm.gamma.copy_(norm.gamma[:1].expand_as(norm.gamma).clone())
            norm.beta.copy_(norm.beta[:1].expand_as(norm.beta).clone())
    photo = torch.rand(1, 3, 20, 24)
    first, *others = (net(photo, torch.tensor([style])) for style in range(3))
    assert all(torch.equal(first, other) for other in others)


def test_styles_paint_differently() -> None:
    net = make_net()
    photo = torch.rand(1, 3, 20, 24)
    first, second, third = (net(photo, torch.tensor([style])) for style in range(3))
    for one, other in ((first, second), (first, third), (second, third)):
        assert (one - other).abs().mean() > 0.01


def test_training_one_styles_rows_leaves_the_other_pictures_bit_identical() -> None:
    net = make_net()
    photo = torch.rand(1, 3, 20, 24)
    before = [net(photo, torch.tensor([style])).detach() for style in range(3)]
    rows = [table for norm in norms(net) for table in (norm.gamma, norm.beta)]
    optimizer = torch.optim.Adam(rows, lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        net(photo, torch.tensor([1])).mean().backward()
        optimizer.step()
    after = [net(photo, torch.tensor([style])) for style in range(3)]
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[1], before[1])
    assert torch.equal(after[2], before[2])


def test_batch_of_mixed_styles_is_each_image_alone() -> None:
    net = make_net().double()
    photos = torch.rand(4, 3, 20, 24, dtype=torch.float64)
    style = torch.tensor([2, 0, 1, 2])
    alone = [net(photos[i : i + 1], style[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(net(photos, style), torch.cat(alone))


def test_index_mix_and_map_of_one_style_paint_alike() -> None:
    net = make_net()
    photo = torch.rand(1, 3, 22, 25)
    picture = net(photo, torch.tensor([1]))
    mix = torch.tensor([[0.0, 1.0, 0.0]])
    torch.testing.assert_close(net(photo, mix), picture)
    torch.testing.assert_close(net(photo, mix[:, :, None, None].expand(1, 3, 5, 7)), picture)


def test_width_scales_the_channels_of_every_layer() -> None:
    outs = [conv.out_channels for conv in convolutions(TransformerNet(1, width=0.5))]
    assert outs == [16, 32, 64, *[64] * 10, 32, 16, 3]


def test_init_std_draws_every_convolution_as_published() -> None:
    net = TransformerNet(1, init_std=0.01)
    for conv in convolutions(net):
        assert conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert conv.weight.mean().item() == pytest.approx(0, abs=1e-3)
    for norm in norms(net):
        assert norm.gamma.eq(1).all()
        assert norm.beta.eq(0).all()


def test_channels_last_paints_the_same() -> None:
    net = make_net()
    photo = torch.rand(2, 3, 24, 20)
    style = torch.tensor([0, 2])
    picture = net(photo, style)
    last = torch.channels_last
    again = net.to(memory_format=last)(photo.to(memory_format=last), style)
    torch.testing.assert_close(again, picture, rtol=0, atol=1e-4)


def test_a_network_of_other_rows_paints_as_those_rows_did() -> None:
    net = TransformerNet(4, width=0.125).eval()
    for table in rows_of(net).values():
        torch.nn.init.normal_(table)
    chosen = [3, 1]
    other = with_rows(net, {name: table[chosen] for name, table in rows_of(net).items()})
    assert all(len(table) == 2 for table in rows_of(other).values())
    assert not other.training
    photo = torch.rand(1, 3, 20, 24).expand(2, -1, -1, -1)
    with torch.inference_mode():
        assert torch.equal(other(photo, torch.tensor([0, 1])), net(photo, torch.tensor(chosen)))
    assert other.paint.conv.weight.data_ptr() == net.paint.conv.weight.data_ptr()


def test_rows_of_another_network_are_refused() -> None:
    net = TransformerNet(2, width=0.125)
    with pytest.raises(ValueError, match="shape"):
        with_rows(net, rows_of(TransformerNet(2, width=0.25)))
    with pytest.raises(ValueError, match="not those of this network"):
        with_rows(net, {"paint.norm.gamma": torch.ones(2, 3)})
