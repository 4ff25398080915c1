"""polystyle-styles: a change to one style leaves all other styles bit-identical."""

import shlex
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import fork_server
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from polystyle.networks.model_file import Model, fingerprint, load_model, save_model
from polystyle.networks.style_commands import extract, merge, remove, rename, reorder
from polystyle.networks.style_edits import remove_styles, rename_style, reorder_styles
from polystyle.networks.style_pack import extract_style, load_style_pack, save_style_pack
from polystyle.networks.style_rows import rows_of
from polystyle.networks.transformer_net import TransformerNet
from polystyle.style_names import IDENTITY_STYLE
from polystyle.styles import main

NAMES = ["wave", "starry_night", IDENTITY_STYLE, "candy"]


def jpeg(colour: str) -> bytes:
    file = BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "JPEG")
    return file.getvalue()


THUMBNAILS = {"wave": jpeg("blue"), "candy": jpeg("pink")}


def make_model(path: Path, names: list[str], seed: int = 0) -> Path:
    """Writes a network in which all styles differ."""
    torch.manual_seed(seed)
    net = TransformerNet(len(names), width=0.125).eval()
    for row in rows_of(net).values():
        nn.init.normal_(row)
    save_model(path, Model(net, names, {"step": 7}, THUMBNAILS))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_model(tmp_path / "model.safetensors", NAMES)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "new.safetensors"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["polystyle-styles", *map(str, arguments)])
    main()


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """The error message with which the command exits with status 1."""
    with pytest.raises(SystemExit) as exit_info:
        run(monkeypatch, *arguments)
    message = exit_info.value.code
    assert isinstance(message, str)
    assert message.startswith("polystyle-styles: ")
    assert message.isprintable()
    return message.removeprefix("polystyle-styles: ")


def style_content(model: Model, name: str) -> tuple[bytes, bytes, bytes | None]:
    """A style's rows, a picture in it, and its thumbnail, to be compared bit for bit."""
    index = model.style_names.index(name)
    rows = b"".join(table[index].numpy().tobytes() for table in rows_of(model.net).values())
    photo = torch.rand(1, 3, 20, 24, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        painted = model.net(photo, torch.tensor([index])).numpy().tobytes()
    return rows, painted, model.thumbnails.get(name)


def all_styles(path: Path) -> dict[str, tuple]:
    model = load_model(path)
    return {name: style_content(model, name) for name in model.style_names}


# ---- Styles that are kept are bit-identical ---------------------------------------------------


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["extract", "remove", "merge", "rename", "reorder"]),
            st.integers(0, 11),
            st.integers(0, 11),
        ),
        max_size=10,
    )
)
def test_any_sequence_of_changes_leaves_every_style_bit_identical(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = make_model(folder / "model.safetensors", ["a", "b", "c", "d"])
    expected = all_styles(path)
    fingerprint_before = fingerprint(load_model(path).net)
    packs = {}
    for number, (verb, first, second) in enumerate(steps):
        names = list(expected)
        name, other = names[first % len(names)], names[second % len(names)]
        if verb == "extract":
            extract(path, [name], folder / str(number))
            packs[folder / str(number) / f"{name}.safetensors"] = (name, expected[name])
        elif verb == "remove" and len(names) > 1:
            remove(path, [name], path, overwrite=True)
            del expected[name]
        elif verb == "merge" and packs:
            pack = list(packs)[first % len(packs)]
            name, style = packs[pack]
            if name not in names:
                merge(path, [pack], path, overwrite=True)
                expected[name] = style
        elif verb == "rename":
            new = f"{name}{number}"
            rename(path, name, new, path, overwrite=True)
            expected = {new if key == name else key: style for key, style in expected.items()}
        elif verb == "reorder":
            reorder(path, [name, other], path, overwrite=True)
            expected = {key: expected[key] for key in dict.fromkeys([name, other, *names])}
    assert list(all_styles(path).items()) == list(expected.items())
    assert fingerprint(load_model(path).net) == fingerprint_before


def test_an_extracted_style_is_merged_again_bit_identical(
    model: Path, output: Path, tmp_path: Path
) -> None:
    before = all_styles(model)
    extract(model, ["starry_night", IDENTITY_STYLE], tmp_path / "styles")
    packs = [
        tmp_path / "styles" / f"{name}.safetensors" for name in ("starry_night", IDENTITY_STYLE)
    ]
    remove(model, ["starry_night", IDENTITY_STYLE], output)
    assert list(all_styles(output)) == ["wave", "candy"]
    merge(output, packs, output, overwrite=True)
    assert list(all_styles(output)) == ["wave", "candy", "starry_night", IDENTITY_STYLE]
    assert all_styles(output) == before
    assert load_model(output).training == {"step": 7}


def test_all_stands_for_every_style(model: Path, tmp_path: Path) -> None:
    extract(model, ["all", "wave"], tmp_path / "styles")
    stems = {path.stem: path for path in (tmp_path / "styles").iterdir()}
    assert stems.keys() == set(NAMES)
    assert load_style_pack(stems["candy"]).thumbnail == jpeg("pink")
    assert load_style_pack(stems["starry_night"]).style_name == "starry_night"


def test_reorder_puts_the_named_styles_first(model: Path, output: Path) -> None:
    reorder(model, ["candy", IDENTITY_STYLE, "candy"], output)
    assert load_model(output).style_names == ["candy", IDENTITY_STYLE, "wave", "starry_night"]
    assert all_styles(output) == all_styles(model)


def test_a_renamed_style_keeps_its_place_and_its_thumbnail(model: Path, output: Path) -> None:
    before = all_styles(model)
    rename(model, "wave", "Die große Welle", output)
    assert load_model(output).style_names == ["Die große Welle", *NAMES[1:]]
    assert load_model(output).thumbnails == {
        "Die große Welle": jpeg("blue"),
        "candy": jpeg("pink"),
    }
    assert list(all_styles(output).values()) == list(before.values())


def test_edits_leave_the_given_network_unchanged(model: Path) -> None:
    network = load_model(model)
    before = {name: style_content(network, name) for name in NAMES}
    for edited, names in (
        (remove_styles(network, ["wave"]), NAMES[1:]),
        (rename_style(network, "wave", "rain"), ["rain", *NAMES[1:]]),
        (reorder_styles(network, ["candy"]), ["candy", *NAMES[:3]]),
    ):
        assert edited.style_names == names
        assert network.style_names == NAMES
        assert network.thumbnails == THUMBNAILS
        assert {name: style_content(network, name) for name in NAMES} == before


# ---- Output -----------------------------------------------------------------------------------


def test_list_shows_the_styles_of_a_network(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "list", model)
    lines = capsys.readouterr().out.splitlines()
    size = f"{model.stat().st_size / 1000:.1f} KB"
    assert lines == [
        f"{model}: 4 styles, {size}",
        f"fingerprint {fingerprint(load_model(model).net)[:12]}, TransformerNet(width=0.125)",
        "trained with step=7",
        "",
        "    #  style         thumbnail",
        "    0  wave          yes",
        "    1  starry_night  -",
        "    2  photo         -          identity style: paints the photo itself",
        "    3  candy         yes",
        "",
        f"Paint: polystyle-stylize PHOTO --model {model} --style all --output painted/",
        f"Share: polystyle-styles extract {model} all --output styles/",
    ]


def test_list_shows_a_style_pack(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = tmp_path / "of mine" / "wave.safetensors"
    save_style_pack(pack, extract_style(load_model(model), "wave"))
    run(monkeypatch, "list", pack)
    assert capsys.readouterr().out.splitlines() == [
        f"{pack}: the style wave, with a thumbnail, {pack.stat().st_size / 1000:.1f} KB",
        f"fingerprint {fingerprint(load_model(model).net)[:12]}, TransformerNet(width=0.125)",
        "trained with step=7",
        "",
        f"Merge: polystyle-styles merge MODEL '{pack}' --output NEW.safetensors",
    ]


def test_list_escapes_control_characters(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    network = load_model(model)
    network.training = {"loss\x1b[2J": "\udcff\n", "notes": "x" * 10_000}
    save_model(model, network)
    run(monkeypatch, "list", model)
    shown = capsys.readouterr().out
    assert r"trained with loss\x1b[2J=\udcff\n notes=xxx" in shown
    assert len(shown) < 2000


@pytest.mark.parametrize(
    ("arguments", "done", "count"),
    [
        (("remove", "wave", "wave"), "Removed 1 style", "3 styles"),
        (("remove", "wave", "candy", IDENTITY_STYLE), "Removed 3 styles", "1 style"),
        (("rename", "wave", "great wave"), "Renamed wave to great wave", "4 styles"),
        (("reorder", "candy"), "Reordered", "4 styles"),
    ],
)
def test_every_change_prints_its_result_and_the_next_commands(
    model: Path,
    output: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    done: str,
    count: str,
) -> None:
    before = model.read_bytes()
    run(monkeypatch, arguments[0], model, *arguments[1:], "--output", output)
    assert capsys.readouterr().out.splitlines() == [
        f"{done}: {output} has {count}",
        f"Look:  polystyle-styles list {output}",
        f"Paint: polystyle-stylize PHOTO --model {output} --style all --output painted/",
    ]
    assert model.read_bytes() == before


# ---- Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../../x", "a/b", "..", "\\x", "C:x", "\udcff"])
@pytest.mark.parametrize("asked", ["name", "all"])
def test_no_pack_is_written_outside_of_the_output_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: str
) -> None:
    path = make_model(tmp_path / "in" / "model.safetensors", ["wave", name])
    monkeypatch.chdir(path.parent)
    asked = name if asked == "name" else "all"
    message = refusal(monkeypatch, "extract", path, asked, "--output", tmp_path / "out" / "deep")
    assert message == f"{path}: the style name {name!r} is not fit for a file's name"
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_nothing_is_overwritten_without_overwrite(
    model: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = model.read_bytes()
    pack = tmp_path / "styles" / "wave.safetensors"
    run(monkeypatch, "extract", model, "wave", "--output", pack.parent)
    run(monkeypatch, "remove", model, "wave", "--output", output)
    pack_before, output_before = pack.read_bytes(), output.read_bytes()
    for arguments in (
        ("remove", model, "wave", "--output", model),
        ("rename", model, "wave", "big_wave", "--output", model),
        ("reorder", model, "candy", "--output", model),
        ("merge", output, pack, "--output", output),
        ("merge", output, pack, "--output", pack),
        ("extract", model, "all", "--output", pack.parent),
    ):
        assert refusal(monkeypatch, *arguments).endswith("exists already: --overwrite replaces it")
    assert (model.read_bytes(), output.read_bytes()) == (before, output_before)
    assert pack.read_bytes() == pack_before
    # All packs are written or none, also of those whose files did not exist.
    assert list(pack.parent.iterdir()) == [pack]

    run(monkeypatch, "extract", model, "all", "--output", pack.parent, "--overwrite")
    assert len(list(pack.parent.iterdir())) == 4
    run(monkeypatch, "remove", model, "candy", "--output", model, "--overwrite")
    assert load_model(model).style_names == ["wave", "starry_night", IDENTITY_STYLE]


def test_a_network_keeps_at_least_one_painted_style(
    model: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for gone in (NAMES, [name for name in NAMES if name != IDENTITY_STYLE]):
        message = refusal(monkeypatch, "remove", model, *gone, "--output", output)
        assert message == "a network needs at least one painted style, and none would be left"
    assert not output.exists()


def test_another_networks_pack_is_refused_in_one_sentence(
    model: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_model(tmp_path / "other.safetensors", ["rust"], seed=1)
    pack = tmp_path / "rust.safetensors"
    save_style_pack(pack, extract_style(load_model(other), "rust"))
    prints = [fingerprint(load_model(path).net)[:12] for path in (other, model)]
    assert refusal(monkeypatch, "merge", model, pack, "--output", output) == (
        f"{pack} can't be merged into {model}: "
        f"the style 'rust' belongs to the network {prints[0]}, and this one is {prints[1]}"
    )
    assert not output.exists()


def test_every_error_is_one_line(
    model: Path, output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "extract", model, "wave", "--output", tmp_path / "styles")
    pack = tmp_path / "styles" / "wave.safetensors"
    garbage = tmp_path / "garbage.safetensors"
    garbage.write_text("<html>404: not found</html>\n")
    missing = tmp_path / "missing.safetensors"
    for arguments, complaint in (
        (("merge", model, pack), "there is a style 'wave' already: rename it first"),
        (("merge", model, model), "is a network, not a style pack"),
        (("merge", model, garbage), f"{garbage} is a web page, not a style pack"),
        (("merge", model, missing), f"there is no file {missing}"),
        (("merge", missing, pack), f"there is no model file {missing}"),
        (("merge", pack, pack), f"{pack} is a style pack, not a network"),
        (("extract", pack, "wave"), f"{pack} is a style pack, not a network"),
        (("extract", model, "wavy"), "there is no style 'wavy': did you mean wave?"),
        (("remove", model, "candy", "cendy"), "no style 'cendy': did you mean candy?"),
        (("remove", garbage, "wave"), f"{garbage} is a web page, not a network"),
        (("remove", missing, "wave"), f"there is no model file {missing}"),
        (("remove", pack.parent, "wave"), "is a folder of safetensors files, not a network"),
        (("rename", model, "wavy", "x"), "did you mean wave?"),
        (("rename", model, "wave", "candy"), "there is a style 'candy' already"),
        (("rename", model, "wave", "wave"), "there is a style 'wave' already"),
        (("rename", model, "wave", "../x"), "'../x' is not fit for a file's name"),
        (
            ("rename", model, "wave", IDENTITY_STYLE),
            "the name 'photo' is reserved for the identity style",
        ),
        (
            ("rename", model, IDENTITY_STYLE, "x"),
            "the name 'photo' is reserved for the identity style",
        ),
        (("reorder", model, "all"), "there is no style 'all': wave, starry_night, photo, candy"),
    ):
        assert complaint in refusal(monkeypatch, *arguments, "--output", output)
    assert not output.exists()
    assert f"{garbage} is a web page, not a network or a style pack" in refusal(
        monkeypatch, "list", garbage
    )
    assert f"there is no model file {missing}" in refusal(monkeypatch, "list", missing)
    folder = refusal(monkeypatch, "remove", model, "wave", "--output", pack.parent)
    assert folder == f"{pack.parent} is a folder: --output names a file"
    file = refusal(monkeypatch, "extract", model, "candy", "--output", pack)
    assert file == f"{pack} is a style pack, not a folder: write to another folder"


# ---- The command ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "operands"),
    [
        ("list", ()),
        ("extract", ("wave",)),
        ("merge", ("pack",)),
        ("remove", ("wave",)),
        ("rename", ("wave", "rain")),
        ("reorder", ("candy",)),
    ],
)
def test_the_folder_of_a_run_stands_for_its_model(
    verb: str,
    operands: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "outputs" / "monet"
    model = make_model(folder / "model.safetensors", NAMES)
    pack = extract_style(load_model(model), "wave")
    pack.style_name = "rain"
    save_style_pack(tmp_path / "pack", pack)
    monkeypatch.chdir(tmp_path)
    results = []
    for number, network in enumerate((model, folder)):
        output = tmp_path / f"new{number}"
        options = () if verb == "list" else ("--output", output)
        run(monkeypatch, verb, network, *operands, *options)
        written = next(output.iterdir()) if verb == "extract" else output
        content = b"" if verb == "list" else written.read_bytes()
        results.append((capsys.readouterr().out.replace(f"new{number}", "new"), content))
    assert results[0] == results[1]


def test_the_printed_merge_command_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run(monkeypatch, "extract", model, "wave", "--output", "my styles")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Merge:")]
    remove(model, ["wave"], model, overwrite=True)
    command = line.removeprefix("Merge: ").replace("MODEL", str(model))
    run(monkeypatch, *shlex.split(command)[1:])
    assert load_model(tmp_path / "NEW.safetensors").style_names == [*NAMES[1:], "wave"]


def test_the_command_extracts_and_merges(model: Path, output: Path, tmp_path: Path) -> None:
    def call(*arguments: str | Path) -> subprocess.CompletedProcess:
        return fork_server.run([sys.executable, "-m", "polystyle.styles", *arguments], tmp_path)

    result = call("extract", "model.safetensors", "wave", "--output", "styles")
    assert (result.returncode, result.stderr) == (0, "")
    first, *rest = result.stdout.splitlines()
    assert first.startswith("Extracted styles/wave.safetensors, ")
    assert rest == [
        "Merge: polystyle-styles merge MODEL styles/wave.safetensors --output NEW.safetensors",
        f"MODEL is any network with fingerprint {fingerprint(load_model(model).net)[:12]}: "
        "polystyle-styles list shows it",
    ]
    result = call("merge", model, "styles/wave.safetensors", "--output", output)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == (
        f"polystyle-styles: styles/wave.safetensors can't be merged into {model}: "
        "there is a style 'wave' already: rename it first, with polystyle-styles rename\n"
    )


@pytest.mark.parametrize("command", ["", "extract"])
def test_help_answers_without_loading_torch(command: str) -> None:
    program = "import sys; from polystyle.styles import main\ntry: main()\n"
    program += "except SystemExit as exit_info: assert not exit_info.code\n"
    program += "assert not {'torch', 'numpy', 'PIL', 'safetensors'} & sys.modules.keys()"
    arguments = [argument for argument in (command, "--help") if argument]
    result = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert "usage: polystyle-styles" in result.stdout
    assert command or "polystyle-styles merge outputs/monet" in result.stdout
