"""Evaluating networks: the scores, the table and summary, the files and the command."""

import copy
import csv
import math
import shutil
import subprocess
import sys
from pathlib import Path

import fork_server
import hydra
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm
from training import TINY, make_folders

from polystyle.data.paintings import load_painting
from polystyle.evaluate import main
from polystyle.evaluation.evaluate import evaluate, load_data
from polystyle.evaluation.gatys import optimise_pixels
from polystyle.evaluation.measure import nearest_styles, set_gap_closed
from polystyle.evaluation.references import make_references
from polystyle.evaluation.report import nearest_paintings, picture_sheet, summarise, table
from polystyle.evaluation.scores import Scores, paired_difference, verdict
from polystyle.evaluation.settings import read_settings
from polystyle.losses.perceptual_loss import PerceptualLoss
from polystyle.losses.vgg import VGG16
from polystyle.networks.model_file import Model, save_model
from polystyle.networks.style_rows import rows_of, with_rows
from polystyle.networks.transformer_net import TransformerNet
from polystyle.painting.contact_sheet import GAP
from polystyle.style_names import IDENTITY_STYLE

STYLE_NAMES = ["dots", "haze", "rust"]
STEPS = 4


@pytest.fixture(autouse=True)
def one_vgg(monkeypatch: pytest.MonkeyPatch, built_vgg: VGG16) -> None:
    """Gives every VGG-16 the same random weights, which are otherwise drawn for each."""

    def make(weights: str | None = None, pooling: str = "max") -> VGG16:
        assert weights == "random"
        made = copy.deepcopy(built_vgg)
        if pooling == "average":
            for index, layer in enumerate(made.features):
                if isinstance(layer, nn.MaxPool2d):
                    made.features[index] = nn.AvgPool2d(2)
        return made

    monkeypatch.setattr("polystyle.evaluation.references.VGG16", make)
    monkeypatch.setattr("polystyle.losses.vgg.VGG16", make)  # for the run's configuration


def make_net(num_styles: int = 3, seed: int = 0) -> TransformerNet:
    """A small network of random weights, in which all styles differ."""
    torch.manual_seed(seed)
    net = TransformerNet(num_styles, width=0.125)
    for name, parameter in net.named_parameters():
        if name.endswith(("gamma", "beta")):
            nn.init.normal_(parameter)
    return net.eval()


def configuration(*overrides: str) -> DictConfig:
    """The configuration that polystyle-train composes from a command line."""
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        return hydra.compose("train", [*TINY, "run_dir=run", *overrides])


def make_run(
    root: Path, *overrides: str, net: TransformerNet | None = None, name: str = "run"
) -> Path:
    """Writes the folder of a run that was started in root; returns its model file."""
    if not (root / "photos").exists():
        make_folders(root)
    config = configuration("data.content_dir=photos", "data.style_dir=paintings", *overrides)
    folder = root / "outputs" / name
    (folder / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    runtime = OmegaConf.create({"hydra": {"runtime": {"cwd": str(root)}}})
    OmegaConf.save(runtime, folder / ".hydra" / "hydra.yaml")
    save_model(folder / "model.safetensors", Model(net or make_net(), STYLE_NAMES))
    return folder / "model.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_run(tmp_path)


def read_table(model: Path, folder: str = "evaluation") -> dict[tuple[str, str], dict[str, str]]:
    """The rows of a table.csv by style and painter."""
    with (model.parent / folder / "table.csv").open(newline="", encoding="utf-8") as file:
        return {(row["style"], row["painter"]): row for row in csv.DictReader(file)}


def one_line_of(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """The error message with which the command exits with status 1."""
    monkeypatch.setattr(sys, "argv", ["polystyle-evaluate", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    message = exit_info.value.code
    assert isinstance(message, str)
    assert message.startswith("polystyle-evaluate: ")
    assert "\n" not in message
    return message


def make_scores(
    total: list[float], gap_closed: float = math.nan, identical: bool = False
) -> Scores:
    """Scores in which every loss has these values, with a black picture."""
    values = torch.tensor(total, dtype=torch.float64)
    names = ("content_loss", "style_loss", "loss")
    losses = {prefix + name: values for prefix in ("", "paper_") for name in names}
    return Scores(losses, torch.zeros(3, 32, 32), gap_closed, identical=identical)


# ---- The scores -----------------------------------------------------------------------------


def test_the_losses_are_those_of_both_configurations_on_the_photos_that_training_holds_out(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")  # the run's folders are relative to where it was typed
    evaluate(model, photos=2, gatys_steps=0)
    table = read_table(model)
    folders = (f"data.content_dir={tmp_path / 'photos'}", f"data.style_dir={tmp_path}/paintings")
    data = instantiate(configuration(*folders, "data.num_val_photos=2").data)
    data.setup()
    assert len(data.val_photos) == 2
    net = make_net()
    for prefix, overrides in (("", ()), ("paper_", ("loss=dumoulin2017",))):
        loss = instantiate(configuration(*folders, *overrides).loss, _convert_="all")
        loss.set_style_images(data.paintings)
        for index, name in enumerate(STYLE_NAMES):
            style = torch.full((2,), index)
            for painter, stylized in (("A", net(data.val_photos, style)), ("photo", None)):
                row = table[name, painter]
                stylized = data.val_photos if stylized is None else stylized
                for key, values in loss(data.val_photos, stylized, style).items():
                    if key != "tv_loss":
                        expected = values.detach().mean().item()
                        assert float(row[prefix + key]) == pytest.approx(expected, rel=1e-4)
                assert row["photos"] == "2"
    assert {float(table[name, "photo"]["content_loss"]) for name in STYLE_NAMES} == {0.0}


def test_a_style_of_several_paintings_is_measured_against_their_mean_gram_matrix(
    tmp_path: Path, built_vgg: VGG16
) -> None:
    model = make_run(tmp_path)
    folder = tmp_path / "paintings" / "haze"
    folder.mkdir()
    for old, new in (("haze", "a"), ("dots", "b")):
        shutil.copy(tmp_path / f"paintings/{old}.png", folder / f"{new}.png")
    (tmp_path / "paintings/haze.png").unlink()
    evaluate(model, photos=2, gatys_photos=2, gatys_steps=STEPS)
    rows = read_table(model)

    vgg = copy.deepcopy(built_vgg).double()

    def grams(image: Tensor) -> dict[str, Tensor]:
        layers = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
        features = vgg(image[None].double(), layers)
        return {
            layer: torch.einsum("chw,dhw->cd", tapped[0], tapped[0]) / tapped[0, 0].numel()
            for layer, tapped in features.items()
        }

    data = load_data(read_settings(model, {}, None, None), 2)
    one, other = (grams(load_painting(path, 32)) for path in sorted(folder.iterdir()))
    target = {layer: (one[layer] + other[layer]) / 2 for layer in one}

    def style_loss(image: Tensor) -> float:
        terms = [
            (gram - target[layer]).square().sum() / target[layer].square().sum()
            for layer, gram in grams(image).items()
        ]
        return torch.stack(terms).mean().item()

    net = make_net()
    painted = net(data.val_photos, torch.full((2,), STYLE_NAMES.index("haze"))).detach()
    for painter, pictures in (("A", painted), ("photo", data.val_photos)):
        expected = np.mean([style_loss(picture) for picture in pictures])
        assert float(rows["haze", painter]["style_loss"]) == pytest.approx(expected, rel=1e-4)
    totals = {painter: float(rows["haze", painter]["loss"]) for painter in ("photo", "A", "gatys")}
    assert totals["gatys"] < totals["photo"]
    closed = (totals["photo"] - totals["A"]) / (totals["photo"] - totals["gatys"])
    assert float(rows["haze", "A"]["gap_closed"]) == pytest.approx(closed, rel=1e-3)


def test_all_references_have_the_mean_gram_matrix_as_their_target(
    tmp_path: Path, vgg: VGG16
) -> None:
    settings = read_settings(make_run(tmp_path), {}, None, None)
    one, other = torch.rand(3, 32, 40), torch.rand(3, 40, 32) / 2

    def targets(**styles: list[Tensor]) -> dict[str, Tensor]:
        references = make_references(settings, styles, torch.device("cpu"))
        return {
            f"{prefix} {name}": buffer
            for prefix, reference in references.items()
            for name, buffer in reference.named_buffers()
            if name.startswith("gram_")
        }

    alone = targets(one=[one], other=[other])
    together = targets(both=[one, other])
    assert len(together) == 2 * 4
    for name, target in together.items():
        torch.testing.assert_close(target, alone[name].mean(0, keepdim=True))


@pytest.mark.parametrize(
    ("overrides", "content_weight", "style_weight"),
    [
        ((), 1, 10),
        (("loss.style_weight=2", "loss.content_weight=3"), 3, 2),
        # Weights of the paper's losses mean nothing for scale-free ones.
        (("loss=dumoulin2017",), 1, 10),
    ],
)
def test_the_total_has_the_weights_of_the_run(
    overrides: tuple[str, ...], content_weight: float, style_weight: float, tmp_path: Path
) -> None:
    model = make_run(tmp_path, *overrides)
    evaluate(model, photos=1, gatys_steps=0)
    row = read_table(model)["haze", "A"]
    total = content_weight * float(row["content_loss"]) + style_weight * float(row["style_loss"])
    assert float(row["loss"]) == pytest.approx(total, rel=1e-4)
    total = float(row["paper_content_loss"]) + float(row["paper_style_loss"])
    assert float(row["paper_loss"]) == pytest.approx(total, rel=1e-4)


def test_the_header_gives_the_sizes_of_a_network_outside_of_its_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    built_vgg: VGG16,
) -> None:
    monkeypatch.setattr(
        "polystyle.evaluation.references.VGG16", lambda *_, **__: copy.deepcopy(built_vgg)
    )
    photos, paintings = make_folders(tmp_path)
    model = tmp_path / "sent" / "model.safetensors"
    training = {"image_size": 24, "style_size": 20, "style_weight": 3.0}
    save_model(model, Model(make_net(), STYLE_NAMES, training))
    evaluate(model, content_dir=photos, style_dir=paintings, photos=1, gatys_steps=0)
    printed = capsys.readouterr().out
    assert "Photos: 1, not held out, of" in printed  # 5 % of ten photos are none
    assert "at 24 pixels" in printed
    assert "at 20 pixels" in printed
    assert "1 x content + 3 x style" in printed


@given(st.integers(0, 2**32 - 1))
def test_optimised_pixels_reach_the_lowest_loss_that_pixels_can(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    target = torch.rand(1, 3, 5, 4, generator=random) * 2 - 0.5  # partly outside [0, 1]
    scale = torch.rand(1, 3, 5, 4, generator=random) + 0.1
    photo = torch.rand(1, 3, 5, 4, generator=random)

    def loss(content: Tensor, stylized: Tensor, style: Tensor) -> dict[str, Tensor]:
        assert torch.equal(content, photo)
        assert style.tolist() == [2]
        return {"loss": (scale * (stylized - target).square()).sum((1, 2, 3))}

    with tqdm(disable=True) as progress:
        pixels = optimise_pixels(loss, photo, 2, 100, progress)
    torch.testing.assert_close(pixels, target.clamp(0, 1), atol=1e-2, rtol=0)


def test_more_steps_give_optimised_pixels_a_lower_loss(model: Path) -> None:
    totals = []
    for steps in (2, 8):
        evaluate(model, photos=2, gatys_photos=2, gatys_steps=steps, overwrite=True)
        rows = read_table(model)
        totals.append([float(rows[name, "gatys"]["loss"]) for name in STYLE_NAMES])
        assert rows["dots", "gatys"]["photos"] == "2"
    photo = [float(rows[name, "photo"]["loss"]) for name in STYLE_NAMES]
    assert all(a > b > c for a, b, c in zip(photo, *totals, strict=True))


def test_the_gap_is_measured_on_the_photos_whose_pixels_are_optimised() -> None:
    scores = {
        "photo": make_scores([10.0, 8.0, 100.0]),
        "A": make_scores([4.0, 5.0, 1.0]),
        "B": make_scores([2.0, 2.0, 50.0]),
        "gatys": make_scores([2.0, 2.0]),
    }
    set_gap_closed(scores)
    assert scores["A"].gap_closed == pytest.approx((6 + 3) / (8 + 6))
    assert scores["B"].gap_closed == pytest.approx(1)
    del scores["gatys"]
    set_gap_closed(scores)
    assert scores["A"].gap_closed == pytest.approx(108 / 118)


losses_of_photos = st.lists(
    st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=5, max_size=20
)


@given(losses_of_photos)
def test_a_difference_is_paired_photo_by_photo(pairs: list[tuple[float, float]]) -> None:
    a, b = np.array(pairs).T
    difference, error = paired_difference(torch.tensor(a), torch.tensor(b))
    assert difference == pytest.approx(b.mean() / a.mean() - 1, abs=1e-12)
    expected = np.std(b - a, ddof=1) / np.sqrt(len(a)) / a.mean()
    assert error == pytest.approx(expected, abs=1e-12)


def test_a_difference_that_all_photos_agree_on_counts_however_widely_losses_spread() -> None:
    a = torch.tensor([1.0, 5.0, 20.0, 80.0, 300.0], dtype=torch.float64)
    assert verdict(*paired_difference(a, a - 0.5)) == "better"
    assert verdict(*paired_difference(a, a + 0.5)) == "worse"
    assert (
        verdict(*paired_difference(a, a + torch.tensor([1.0, -1.0, 0.8, -0.7, 0.1]))) == "unclear"
    )
    assert verdict(*paired_difference(a[:4], a[:4] - 0.5)) == "unclear", "too few photos"
    assert verdict(0.0, 0.0) == "unclear"


# ---- Table and summary ----------------------------------------------------------------------


def test_the_table_is_aligned_and_fits_a_terminal() -> None:
    long_name = "a_painting_with_a_very_long_name_indeed"
    results = {
        name: {
            "photo": make_scores([9.02, 8.0, 8.0, 8.0, 8.0]),
            "A": make_scores([4.7, 9.0, 4.0, 5.0, 6.0], gap_closed=-0.25),
            "B": make_scores([2.0, 3.5, 2.1, 3.0, 1.0], gap_closed=1.0),
            "gatys": make_scores([1.0]),
        }
        for name in (long_name, "wave")
    }
    for painters in (("photo", "A", "gatys"), ("photo", "A", "B", "gatys"), ("photo", "A")):
        shown = {
            name: {painter: scores[painter] for painter in painters}
            for name, scores in results.items()
        }
        lines = table(shown).splitlines()
        assert len(lines) == 2 + 2 + 1
        assert max(map(len, lines)) <= 100
        assert ("better" in lines[2]) == ("B" in painters)
        assert lines[2].startswith("a_painting_with…")
        assert lines[2].removeprefix("a_painting_with…") == lines[3].removeprefix(f"{'wave':16}")


def test_the_least_trained_style_is_named_and_advice_given_if_it_lags() -> None:
    results = {
        name: {
            "photo": make_scores([9.0]),
            "A": make_scores([3.0], gap_closed=closed),
            "gatys": make_scores([1.0]),
        }
        for name, closed in (("wave", 0.45), ("rain", 0.8), ("candy", 0.82))
    }
    sentence = summarise(results)[0]
    assert sentence.startswith("The least trained style is wave: 45% of the gap closed")
    assert "median style has 80%" in sentence
    assert "loss.style_coefficients={wave:2}" in sentence
    results["wave"]["A"].gap_closed = 0.78
    sentence = summarise(results)[0]
    assert "78%" in sentence
    assert sentence.endswith("No style lags behind.")
    results["candy"]["A"].gap_closed = 1.1
    assert "Over 100%" in summarise(results)[-1]
    for scores in results.values():
        del scores["gatys"]
    assert "Without --gatys-steps, the loss that pixels can reach" in summarise(results)[0]


@pytest.mark.parametrize(
    ("b", "sentence"),
    [
        ([1.8, 3.6, 7.2, 1.8, 3.6], "B's total loss is 10.0% lower than A's over the 1 style"),
        ([2.5, 4.6, 8.6, 2.5, 4.6], "B is worse, beyond the spread over photos"),
        ([1.5, 3.4, 7.4, 1.5, 3.4], "B is better, beyond the spread over photos"),
        ([1.0, 5.5, 8.1, 1.7, 4.4], "photos): within the spread over photos"),
        (
            [1.8, 3.6, 7.2, 1.8],
            "10.0% lower than A's over the 1 style that both have. With so few",
        ),
    ],
)
def test_two_networks_are_compared_over_the_styles_that_both_have(
    b: list[float], sentence: str
) -> None:
    count = len(b)
    photo, a, other = (
        make_scores(values[:count]) for values in ([9.0] * 5, [2.0, 4.0, 8.0, 2.0, 4.0], [99.0] * 5)
    )
    results = {
        "wave": {"photo": photo, "A": a, "B": make_scores(b)},
        "only_a": {"photo": photo, "A": other},
        "only_b": {"photo": photo, "B": other},
    }
    assert sentence in " ".join(summarise(results))


# ---- The command ----------------------------------------------------------------------------


def test_a_network_is_identical_to_itself_and_to_one_with_a_style_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = make_net(2)
    model = make_run(tmp_path)
    save_model(model, Model(net, ["haze", "dots"]))
    # The styles change places, and "rust" is new.
    order = torch.tensor([1, 0, 0])
    rows = {name: tensor[order].clone() for name, tensor in rows_of(net).items()}
    for tensor in rows.values():
        tensor[2] += 0.1
    more = model.with_name("more.safetensors")
    save_model(more, Model(with_rows(net, rows), STYLE_NAMES, {"style_size": 64}))

    evaluate(model, model, photos=5, gatys_steps=0)
    assert "B paints 2 of the 2 styles" in capsys.readouterr().out

    evaluate(model, more, photos=5, gatys_steps=0)
    printed = capsys.readouterr().out
    assert "B paints 2 of the 2 styles that both have exactly as A does" in printed
    assert "B was trained with data.style_size=64, but is evaluated at A's 32" in printed
    rows = read_table(model, "evaluation-vs-more")
    assert {name: rows[name, "B"]["identical_to_a"] for name in STYLE_NAMES} == {
        "dots": "True",
        "haze": "True",
        "rust": "",
    }
    assert ("rust", "A") not in rows
    assert rows["dots", "A"]["loss"] == rows["dots", "B"]["loss"]
    assert rows["dots", "A"]["loss"] != rows["haze", "A"]["loss"]
    (line,) = (line for line in printed.splitlines() if line.startswith("rust"))
    assert len(line.split()) == 5  # name; gap closed, content, style of B; style of the photo


def test_the_folders_of_two_runs_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_run(tmp_path)
    other = make_run(tmp_path, net=make_net(seed=1), name="longer")
    evaluate(model.parent, other.parent, photos=1, gatys_steps=0)
    printed = capsys.readouterr().out
    assert printed.startswith(f"A: {model}\nB: {other}\n")
    rows = read_table(model, "evaluation-vs-longer")
    assert rows["dots", "A"]["model"] == str(model)
    assert rows["dots", "B"]["model"] == str(other)
    evaluate(model, other, photos=1, gatys_steps=0, output=tmp_path / "files")
    folder = model.parent / "evaluation-vs-longer"
    assert (folder / "table.csv").read_text() == (tmp_path / "files" / "table.csv").read_text()


def test_the_slightest_change_is_not_identical(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = make_net()
    with torch.no_grad():
        net.paint.norm.beta[1, 0] += 1e-3
    other = make_run(tmp_path, net=net, name="changed")
    evaluate(model, other, photos=2, gatys_steps=0)
    rows = read_table(model, "evaluation-vs-changed")
    identical = {name: rows[name, "B"]["identical_to_a"] for name in STYLE_NAMES}
    assert identical == {"dots": "True", "haze": "False", "rust": "True"}
    printed = capsys.readouterr().out
    assert "B paints 2 of the 3 styles" in printed
    assert "B's total loss is" in printed


def test_styles_without_a_painting_are_named_and_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = make_run(tmp_path)
    save_model(model, Model(make_net(5), [*STYLE_NAMES, "lost", IDENTITY_STYLE]))
    evaluate(model, photos=1, gatys_steps=0)
    printed = capsys.readouterr().out
    assert "Skipped, for lack of a painting: lost\n" in printed
    assert {name for name, _ in read_table(model)} == set(STYLE_NAMES)


def test_the_same_command_writes_the_same_bytes_and_overwrites_only_if_told_to(
    model: Path,
) -> None:
    arguments = {"photos": 2, "gatys_photos": 1, "gatys_steps": STEPS}
    evaluate(model, **arguments)
    files = {path.name: path.read_bytes() for path in (model.parent / "evaluation").iterdir()}
    assert files.keys() == {"table.csv", "sheet.jpg"}
    with pytest.raises(FileExistsError, match=r"table\.csv exists already: --overwrite"):
        evaluate(model, **arguments)
    (model.parent / "evaluation" / "table.csv").write_text("old")
    evaluate(model, **arguments, overwrite=True)
    for name, content in files.items():
        assert (model.parent / "evaluation" / name).read_bytes() == content


def test_the_summary_names_the_pictures_that_are_nearest_to_another_painting() -> None:
    results = {name: {"photo": make_scores([9.0]), "A": make_scores([1.0])} for name in "ab"}
    results["a"]["A"].nearest = ["a", "a", "b"]
    results["b"]["A"].nearest = ["b", "b", "b"]
    assert nearest_paintings(results, "A") == (
        "By the style loss, 5 of the network's 6 pictures are nearest to the paintings of their "
        "own style; not those of a (to b)."
    )
    results["a"]["A"].nearest = ["a", "a", "a"]
    assert nearest_paintings(results, "A") == (
        "By the style loss, 6 of the network's 6 pictures are nearest to the paintings of their "
        "own style."
    )


def test_the_nearest_painting_is_the_one_that_the_picture_shows(vgg: VGG16) -> None:
    generator = torch.Generator().manual_seed(0)
    paintings = [torch.rand(3, 32, 32, generator=generator) * scale for scale in (1.0, 0.5, 0.1)]
    loss = PerceptualLoss(vgg)
    loss.set_style_images({str(number): [image] for number, image in enumerate(paintings)})
    shown = torch.stack([paintings[2], paintings[0], paintings[1]])
    assert nearest_styles(loss, shown) == [2, 0, 1]


def test_the_sheet_has_a_row_for_each_style_and_a_column_for_each_painter() -> None:
    def flat(*colour: float) -> Tensor:
        return torch.tensor(colour, dtype=torch.float32)[:, None, None].expand(3, 32, 32)

    colours = {"photo": (1, 0, 0), "A": (0, 1, 0), "B": (0, 0, 1), "gatys": (1, 1, 0)}
    results: dict[str, dict[str, Scores]] = {"one": {}, "two": {}}
    for painter, colour in colours.items():
        for scores in results.values():
            scores[painter] = make_scores([1.0], gap_closed=0.5)
            scores[painter].picture = flat(*colour)
    del results["two"]["B"]
    paintings = {"one": [flat(0, 1, 1)], "two": [flat(1, 0, 1)]}
    pixels = picture_sheet(results, flat(1, 0, 0), paintings)
    found = [
        [pixels.getpixel((GAP + 16 + column * (32 + GAP), row)) for column in range(5)]
        for row in (GAP + 16, pixels.height // 2 + GAP + 10)
    ]
    rest = [tuple(255 * value for value in colour) for colour in colours.values()]
    assert found[0] == [(0, 255, 255), *rest]
    rest[2] = (255, 255, 255)
    assert found[1] == [(255, 0, 255), *rest]


def test_the_sheet_shows_a_mosaic_of_a_styles_paintings() -> None:
    cyan, magenta = (
        torch.tensor(colour)[:, None, None].expand(3, 32, 32)
        for colour in ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0))
    )
    results = {"one": {"photo": make_scores([1.0]), "A": make_scores([1.0], gap_closed=0.5)}}
    sheet = picture_sheet(results, torch.zeros(3, 32, 32), {"one": [cyan, magenta]})
    assert sheet.getpixel((GAP + 8, GAP + 16)) == (0, 255, 255)
    assert sheet.getpixel((GAP + 24, GAP + 16)) == (255, 0, 255)
    assert sheet.getpixel((GAP + 32 + GAP + 16, GAP + 16)) == (0, 0, 0)


@pytest.mark.slow
def test_the_command_evaluates_the_folder_of_a_run_without_any_flag(tmp_path: Path) -> None:
    model = make_run(tmp_path)
    command = [sys.executable, "-m", "polystyle.evaluate", str(model.parent), "--gatys-steps", "2"]
    result = fork_server.run(command, "/")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == str(model)
    rows = [line.split() for line in lines if line.startswith(tuple(STYLE_NAMES))]
    gaps_closed = [float(row[1].rstrip("%")) for row in rows]
    assert len(gaps_closed) == 3
    assert gaps_closed == sorted(gaps_closed), "the worst comes first"
    folder = model.parent / "evaluation"
    assert lines[-2:] == [f"Look:  {folder / 'sheet.jpg'}", f"Table: {folder / 'table.csv'}"]
    with Image.open(folder / "sheet.jpg") as image:
        assert image.size[0] == 4 * (32 + GAP) + GAP


def test_help_answers_without_loading_torch() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "polystyle.evaluate", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert not imported & {"torch", "torchvision", "numpy", "PIL", "lightning", "omegaconf"}
    assert "polystyle-evaluate outputs/monet\n" in result.stdout


def test_every_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def error_of(*arguments: str | Path) -> str:
        return one_line_of(monkeypatch, *arguments)

    model = make_run(tmp_path)
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(model.read_bytes())
    missing = tmp_path / "missing"
    assert "there is no model file" in error_of(missing)
    assert "there is no model file" in error_of(model, missing)
    assert "--content-dir is needed" in error_of(alone)
    assert "--style-dir is needed" in error_of(alone, "--content-dir", tmp_path / "photos")
    assert f"there is no folder {missing}" in error_of(model, "--content-dir", missing)
    assert "of network A (dots," in error_of(model, "--style-dir", tmp_path / "photos")
    other = tmp_path / "other.safetensors"
    save_model(other, Model(make_net(1), ["unknown"]))
    assert "of network B (unknown)" in error_of(model, other)
    assert "--photos must be at least 1" in error_of(model, "--photos", "0")
    assert "--gatys-photos must be at least 1" in error_of(model, "--gatys-photos", "-1")
    assert "--gatys-steps must be at least 0" in error_of(model, "--gatys-steps", "-1")
    assert "there is no device 'gpu'" in error_of(model, "--device", "gpu")
    (tmp_path / "paintings").rename(tmp_path / "moved")
    message = error_of(model)
    assert str(tmp_path / "paintings") in message
    assert message.endswith("pass --style-dir")
    (model.parent / ".hydra" / "config.yaml").write_text("data: [unclosed")
    assert "config.yaml is not the configuration of a run" in error_of(model)
    assert not (model.parent / "evaluation").exists()


def test_ctrl_c_prints_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("polystyle.evaluation.evaluate.score_styles", interrupted)
    monkeypatch.setattr(sys, "argv", ["polystyle-evaluate", str(model)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1
