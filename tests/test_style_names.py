"""What a style may be called: names are a part of files' names, and come from anywhere."""

from pathlib import Path

import pytest
from attacks.ground import make_model
from training import make_folders

from polystyle.data.datamodule import StyleTransferData
from polystyle.data.paintings import find_paintings
from polystyle.files.terminal_text import GARBLING, sanitized
from polystyle.networks.model_file import load_model, save_model
from polystyle.style_names import MAX_NAME, check_new_style_name, check_style_name

UNFIT = {
    "is empty": "",
    "is the folder": ".",
    "is the folder above": "..",
    "leaves the folder": "../../x",
    "is a path": "/etc/x",
    "has a slash": "a/b",
    "ends with a slash": "a/",
    "has a backslash": "a\\b",
    "is Windows' path": "C:\\x",
    "has a drive": "C:x",
    "is hidden": ".x",
    "has a NUL": "a\0b",
    "has two lines": "a\nb",
    "returns": "a\rb",
    "clears the screen": "\x1b[2J",
    "sets the title": "\x9d0;x\x9c",
    "turns the direction": "abc\u202egpj",
    "turns it another way": "abc\u2067gpj",
    "has a line separator": "a\u2028b",
    "is no text": "\udcff",
}
LONG = {
    "has a byte too many": "x" * (MAX_NAME + 1),
    "is very long": "x" * 1_000_000,
    "is long in UTF-8": "\N{SNOWMAN}" * 67,
}


@pytest.mark.parametrize("name", UNFIT.values(), ids=UNFIT)
def test_a_name_unfit_for_a_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError) as error:
        check_style_name(name)
    assert str(error.value) == f"the style name {name!r} is not fit for a file's name"
    assert not GARBLING.search(str(error.value))


@pytest.mark.parametrize("name", LONG.values(), ids=LONG)
def test_a_name_too_long_for_a_file_is_refused(name: str) -> None:
    with pytest.raises(ValueError) as error:
        check_style_name(name)
    start = f"the style name {name[:50]}… has {len(name.encode())} bytes"
    assert str(error.value).startswith(start)
    assert str(MAX_NAME) in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "starry night",
            "Café – 2",  # noqa: RUF001
            "Die große Welle",
            "v1.2 (final).copy",
            "what?",
            "Monet: Lilies",
        ),
        *(
            "北斎　波",
            "می‌خواهم",
            "👩‍🎨",
            "Screenshot 9.41.00\u202fAM",
            "x" * MAX_NAME,
            "it's",
            "-x",
        ),
        "Claude Monet - Woman with a Parasol - Madame Monet and Her Son - Google Art Project",
    ],
)
def test_a_name_that_people_have_is_taken(tmp_path: Path, name: str) -> None:
    check_style_name(name)
    save_model(tmp_path / "model.safetensors", make_model([name]))
    assert load_model(tmp_path / "model.safetensors").style_names == [name]
    assert sanitized(name) == name


@pytest.mark.parametrize("stem", ["a\nb", "x" * 201])
def test_training_refuses_a_painting_whose_name_no_model_could_have(
    tmp_path: Path, stem: str
) -> None:
    photos, paintings = make_folders(tmp_path)
    (paintings / "dots.png").rename(paintings / f"{stem}.png")
    with pytest.raises(ValueError, match=r"not fit for a file's name| 201 bytes") as error:
        StyleTransferData(str(photos), str(paintings))
    assert not GARBLING.search(str(error.value))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("-wave", "which a command takes for a flag"),
        ("--style", "which a command takes for a flag"),
        ("all", "a word of polystyle-stylize's flags"),
        ("rest", "a word of polystyle-stylize's flags"),
        ("a=b", "the = separates file and style in --mask FILE=STYLE"),
    ],
)
def test_a_painting_whose_style_no_command_can_name_is_refused(
    tmp_path: Path, name: str, complaint: str
) -> None:
    _, paintings = make_folders(tmp_path)
    (paintings / "dots.png").rename(paintings / f"{name}.png")
    with pytest.raises(ValueError) as error:
        find_paintings(paintings)
    assert complaint in str(error.value)
    assert str(error.value).endswith(": rename it")
    assert f"{name}.png: a style can't be named {name!r}" in str(error.value)
    # Networks that have it can be read, and painted with by --style=-wave.
    check_style_name(name)


@pytest.mark.parametrize("name", ["Monet: Lilies", "what?", "wave-", "1", "null", "ab:1"])
def test_a_name_that_a_command_can_name_is_taken(name: str) -> None:
    check_new_style_name(name)


def test_two_paintings_whose_pictures_would_share_a_file_are_refused(tmp_path: Path) -> None:
    _, paintings = make_folders(tmp_path)
    (paintings / "dots.png").rename(paintings / "a?b.png")
    (paintings / "haze.png").rename(paintings / "a_b.png")
    with pytest.raises(ValueError, match=r"'a\?b' and 'a_b' would paint to files of the same name"):
        find_paintings(paintings)
