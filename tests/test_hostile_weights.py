"""Weights of VGG-16 that somebody made to do harm: none runs code, none fills the memory."""

import zipfile
from pathlib import Path

import pytest
import torch
from attacks.pickles import check_armed, pickles

from polystyle.losses.vgg import VGG16
from polystyle.losses.vgg_weights import read_weights


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ""])
def test_no_pickle_runs_as_weights_of_vgg(tmp_path: Path, suffix: str) -> None:
    mark = tmp_path / "marks" / "mark"
    for flavour, data in pickles(mark).items():
        check_armed(flavour, data, mark)
        path = tmp_path / f"vgg{suffix}"
        path.write_bytes(data)
        with pytest.raises(ValueError, match="is damaged, or not a file of plain weights"):
            read_weights(path)
        assert not mark.exists(), flavour


def test_weights_that_unpack_to_more_than_themselves_are_refused(tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(2_000_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in plain.namelist():
            bomb.writestr(name, plain.read(name))
    with pytest.raises(ValueError, match=r"is not VGG-16: 0\.weight is"):
        read_weights(tmp_path / "plain.pth")
    with pytest.raises(ValueError, match="is damaged, or not a file of plain weights"):
        read_weights(tmp_path / "bomb.pth")


def test_weights_with_a_flipped_bit_are_refused(tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(1000)}, tmp_path / "vgg.pth")
    data = bytearray((tmp_path / "vgg.pth").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "vgg.pth").write_bytes(data)
    with pytest.raises(ValueError, match="is damaged, or not a file of plain weights"):
        read_weights(tmp_path / "vgg.pth")


@pytest.mark.parametrize("kind", [torch.int64, torch.complex64, "meta"])
def test_weights_that_are_no_plain_floats_are_refused(
    tmp_path: Path, vgg: VGG16, kind: torch.dtype | str
) -> None:
    weights = {name: tensor.contiguous() for name, tensor in vgg.features.named_buffers()}
    weights["2.bias"] = weights["2.bias"].to(kind)
    torch.save(weights, tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"vgg\.pth is not VGG-16: 2\.bias is not a dense tensor"):
        read_weights(tmp_path / "vgg.pth")
