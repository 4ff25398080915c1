"""Adding styles to a trained network, as a user types it: what is trained, and what stays."""

from io import BytesIO
from pathlib import Path

import hydra
import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig
from PIL import Image, ImageColor
from torch import Tensor
from training import load_checkpoint, make_folders, run, train_command

from polystyle.networks.model_file import Model, load_model, save_model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import TransformerNet
from polystyle.training.build_run import load_base, train

ADD = (
    "experiment=add_styles",
    "model_file=old.safetensors",
    "trainer.max_steps=4",
    "trainer.val_check_interval=2",
    "data.num_workers=0",
)


def jpeg() -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), "navy").save(file, "JPEG")
    return file.getvalue()


def make_network(path: Path, *style_names: str, seed: int = 0) -> Model:
    """A network with rows of all kinds, as if it had been trained."""
    torch.manual_seed(seed)
    net = TransformerNet(len(style_names), width=0.125)
    rows = {name: torch.randn_like(row) / 2 + 1 for name, row in rows_of(net).items()}
    training = {"image_size": 32, "style_size": 40, "step": 7}
    model = Model(with_rows(net, rows), list(style_names), training, {"sea": jpeg()})
    save_model(path, model)
    return model


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, three styles, one of two paintings, and a trained network of two styles."""
    root = tmp_path_factory.mktemp("root")
    _, paintings = make_folders(root)
    (paintings / "rust").mkdir()
    (paintings / "rust.png").rename(paintings / "rust/iron.png")
    Image.new("RGB", (48, 40), "peru").save(paintings / "rust/nails.png")
    make_network(root / "old.safetensors", "sky", "sea")
    return root


@pytest.fixture(scope="module")
def added(root: Path) -> Path:
    """A run that added the three styles and the identity style, shared by tests that read it."""
    before = (root / "old.safetensors").read_bytes()
    command = train_command(root, *ADD, "data.identity_style=true", "hydra.run.dir=added")
    result = run(command, root)
    assert result.returncode == 0, result.stderr
    assert "2 styles of old.safetensors, frozen like all shared weights" in result.stdout
    assert "4 styles: dots, haze, rust (2 paintings), photo" in result.stdout
    made = "Made added/model.safetensors: the 2 styles of old.safetensors as they were, and dots, "
    assert made in result.stdout
    assert "--style dots --style haze --style rust --style photo" in result.stdout
    assert (root / "old.safetensors").read_bytes() == before
    return root / "added"


@torch.no_grad()
def paint(net: TransformerNet, style: int) -> Tensor:
    photos = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(1))
    return net(photos, torch.full((2,), style))


def test_old_styles_paint_what_they_did_bit_for_bit(root: Path, added: Path) -> None:
    old, new = load_model(root / "old.safetensors"), load_model(added / "model.safetensors")
    assert new.style_names == ["sky", "sea", "dots", "haze", "rust", "photo"]
    for index in range(2):
        assert torch.equal(paint(new.net, index), paint(old.net, index))
    rows = rows_of(old.net)
    for name, tensor in old.net.state_dict().items():
        after = new.net.state_dict()[name]
        assert torch.equal(after[:2] if name in rows else after, tensor), name


def test_every_new_row_is_trained(root: Path, added: Path) -> None:
    first = rows_of(load_model(root / "old.safetensors").net)
    for name, table in rows_of(load_model(added / "model.safetensors").net).items():
        moved = (table[2:, None] != first[name]).any(2).all(1)
        assert moved.all(), f"{name}: {moved.tolist()}"
        assert len({tuple(row.tolist()) for row in table}) == 6, name


def test_the_header_keeps_what_was_and_tells_what_was_added(added: Path) -> None:
    model = load_model(added / "model.safetensors")
    (entry,) = model.training.pop("added")
    assert model.training == {"image_size": 32, "style_size": 40, "step": 7}
    assert entry["styles"] == ["dots", "haze", "rust", "photo"]
    assert entry["step"] == 4
    assert model.thumbnails.keys() == {"sea", "dots", "haze", "rust"}
    assert model.thumbnails["sea"] == jpeg()
    with Image.open(BytesIO(model.thumbnails["rust"])) as mosaic:
        assert mosaic.size == (64, 64)
        left, right = mosaic.getpixel((8, 16)), mosaic.getpixel((56, 16))
    assert right == pytest.approx(ImageColor.getrgb("peru"), abs=6)
    assert left != pytest.approx(ImageColor.getrgb("peru"), abs=20)


def test_only_the_new_rows_have_an_optimizer_state(added: Path) -> None:
    checkpoint = load_checkpoint(added / "checkpoints/last.ckpt")
    (optimizer,) = checkpoint["optimizer_states"]
    assert {len(state["exp_avg"]) for state in optimizer["state"].values()} == {4}
    assert len(optimizer["state"]) == 1  # of all rows, side by side


@pytest.mark.slow
def test_a_resumed_run_ends_where_an_unbroken_one_does(root: Path, added: Path) -> None:
    half = f"ckpt_path={added / 'checkpoints/step-000002.ckpt'}"
    line = (*ADD, "data.identity_style=true", "hydra.run.dir=resumed", half)
    result = run(train_command(root, *line), root)
    assert result.returncode == 0, result.stderr
    whole = load_model(added / "model.safetensors").net.state_dict()
    for name, tensor in load_model(root / "resumed/model.safetensors").net.state_dict().items():
        assert torch.equal(whole[name], tensor), name


def compose(root: Path, *overrides: str) -> DictConfig:
    """A configuration that adds the paintings, for a run in this process."""
    line = train_command(root, *ADD)[3:]
    here = (f"run_dir={root / 'run'}", f"model_file={root / 'old.safetensors'}")
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        return hydra.compose("train", [*line, *here, *overrides])


def test_sizes_are_those_of_the_network_unless_given(root: Path) -> None:
    cfg = compose(root, "data.image_size=null", "data.style_size=null")
    load_base(cfg)
    assert (cfg.data.image_size, cfg.data.style_size) == (32, 40)
    cfg = compose(root, "data.image_size=48", "data.style_size=null")
    load_base(cfg)
    assert (cfg.data.image_size, cfg.data.style_size) == (48, 40)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["model_file=null", "data.style_size=null"], "model_file is not set: the trained network"),
        (["model_file=NO_SIZE", "data.style_size=null"], "doesn't tell its style_size: set data.s"),
        (["model_file=none.safetensors"], "there is no model file none.safetensors"),
        (["data.style_dir=null"], "data.style_dir is null and data.identity_style false"),
        (["callbacks.model_file.path=${model_file}"], "this run would write over its model_file"),
        (
            ["data.identity_style=true", "model_file=WITH_PHOTO"],
            "an identity style already: leave out data.",
        ),
        (["model_file=WITH_RUST"], "the style rust already: give the painting's file or folder"),
        (["ckpt_path=CHECKPOINT", "data.identity_style=true", "model_file=null"], "name it with"),
    ],
)
def test_what_cannot_be_is_one_line(
    root: Path, added: Path, overrides: list[str], complaint: str
) -> None:
    make_network(root / "with_photo.safetensors", "sky", "photo")
    make_network(root / "with_rust.safetensors", "rust", "sky")
    save_model(root / "no_size.safetensors", Model(TransformerNet(1, width=0.125), ["sky"]))
    for word, path in (
        ("CHECKPOINT", added / "checkpoints/last.ckpt"),
        ("WITH_PHOTO", root / "with_photo.safetensors"),
        ("NO_SIZE", root / "no_size.safetensors"),
        ("WITH_RUST", root / "with_rust.safetensors"),
    ):
        overrides = [override.replace(word, str(path)) for override in overrides]
    with pytest.raises((ValueError, OSError, InstantiationException)) as error:
        train(compose(root, *overrides))
    assert complaint in str(error.value.__cause__ or error.value)
    assert not (root / "run/checkpoints").exists()


def test_a_run_in_the_networks_own_folder_leaves_it_alone(root: Path) -> None:
    """Also where the file is there as a link, and where a run could be gone on with."""
    folder = root / "own"
    make_network(folder / "model.safetensors", "sky")
    before = (folder / "model.safetensors").read_bytes()
    (root / "link.safetensors").symlink_to(folder / "model.safetensors")
    cfg = compose(root, f"run_dir={folder}", f"model_file={root / 'link.safetensors'}")
    with pytest.raises(FileExistsError, match="would write over its model_file"):
        train(cfg)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").touch()
    cfg.ckpt_path = "last"
    with pytest.raises(FileExistsError, match="would write over its model_file"):
        train(cfg)
    assert (folder / "model.safetensors").read_bytes() == before
