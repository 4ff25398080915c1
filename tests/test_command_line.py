"""The command line of polystyle-train: any order, any path, other tools' words."""

import os
import shlex
from pathlib import Path

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from polystyle.training.command_line import (
    SAID_HERE,
    for_hydra,
    is_path_key,
    path_override,
    quoted,
    style_numbers,
    typed_override,
    unquoted,
)
from polystyle.training.config_check import read_style_numbers
from polystyle.training.messages import resume_command

AWKWARD = {
    "spaces": "my photos",
    "parentheses": "photos (2)",
    "equals": "a=b",
    "commas": "one, two",
    "hash": "take #5",
    "single quote": "it's",
    "double quotes": 'the "best"',
    "one quote at each end": "'90s, '80s'",
    "dollar": "cash$",
    "braces": "{a}",
    "brackets": "[2019]",
    "backslash": "a\\b",
    "ends with a backslash": "a\\",
    "backslash and quote": "a\\'b",
    "umlaut": "Gemälde",
    "Chinese": "绘画",
    "emoji": "🎨",
    "an integer": "2024",
    "octal": "007",
    "grouped": "1_000",
    "a float": "1e5",
    "true": "true",
    "nan": "NaN",
    "colon": "a:b",
    "ampersand": "R&B; rm",
    "asterisk": "a*b?",
    "leading plus": "+a",
    "newline": "a\nb",
    "a function": "choice(a,b)",
    "percent": "100%",
    "at": "a@b",
}


def parsed(override: str) -> object:
    """What Hydra reads."""
    [found] = OverridesParser.create().parse_overrides([override])
    return found.value()


@pytest.mark.parametrize("key", ["data.content_dir", "hydra.run.dir", "+data.depth_dir", "init"])
@pytest.mark.parametrize("name", AWKWARD.values(), ids=AWKWARD)
def test_a_path_of_any_characters_is_read_as_it_was_typed(key: str, name: str) -> None:
    if key.startswith("+") and name in ("{a}", "[2019]"):  # a list, for a class of one's own
        assert for_hydra([f"{key}={name}"]) == [f"{key}={name}"]
        return
    [override] = for_hydra([f"{key}={name}"])
    value = OmegaConf.create({"path": parsed(override)}).path
    assert value == name
    # The processes of other devices are started with what this one was made of.
    assert for_hydra([override]) == [override]
    assert for_hydra([typed_override(override)]) == [override]


@given(text=st.text(min_size=1))
@example(text="\\'")
@example(text="'\\")
@example(text="\\\\'\\\\")
def test_quotes_come_off_as_they_went_on(text: str) -> None:
    assert unquoted(quoted(text)) == text
    if "\0" not in text:
        assert parsed(f"x={quoted(text)}") == text


def test_a_path_that_exists_is_that_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("null", "[a]", "'a'", "a,b", "c, d"):
        Path(name).mkdir()
        [override] = for_hydra([f"data.style_dir={name}"])
        assert parsed(override) == name
    sweep = for_hydra(["-m", "data.style_dir=a,b,c, d,e"])
    assert sweep == ["data.style_dir='a,b','c, d',e", "--multirun"]


def test_a_literal_interpolation_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("${seed}").mkdir()
    with pytest.raises(ValueError, match=r"a path can't have \$\{ in its name"):
        for_hydra(["data.content_dir=${seed}"])


def test_what_hydra_means_stays() -> None:
    for override in (
        "hydra.run.dir='outputs/${now:%Y-%m-%d}'",
        "ckpt_path=null",
        "data.style_dir=null",
        "callbacks.model_file=null",
        "callbacks.model_file={path:x}",
        "data.content_dir='a b'",
        'data.content_dir="a b"',
        "+data.extra_dir=[a,b]",
        "~callbacks.progress_bar",
        "loss.style_weight=2",
        "hydra.job.chdir=true",
    ):
        assert for_hydra([override]) == [override]
    [override] = for_hydra(["hydra.run.dir=outputs/${hydra.job.num}"])
    assert parsed(override) == "outputs/${hydra.job.num}"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("data.style_dir=a,b c", "data.style_dir=a,'b c'"),
        ("data.style_dir='a,b',c", "data.style_dir='a,b',c"),
        ("data.style_dir=a, b", "data.style_dir=a,b"),
        ("data.style_dir=choice(a,b)", "data.style_dir=choice(a,b)"),
        ("hydra.sweep.dir=a,b", "hydra.sweep.dir='a,b'"),
        ("data.content_dir=é,2024", "data.content_dir='é','2024'"),
        (
            "loss.style_coefficients={a:1,b:2},{c:3}",
            "loss.style_coefficients='{a:1,b:2}','{c:3}'",
        ),
    ],
)
def test_commas_separate_the_values_of_a_sweep(typed: str, read: str) -> None:
    assert for_hydra([typed, "-m"]) == [read, "--multirun"]
    assert for_hydra(["--multirun", read]) == [read, "--multirun"]


def test_the_home_folder_is_found_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert for_hydra(["data.content_dir=~/photos", "--config-dir=~/x"]) == [
        "data.content_dir=/home/ann/photos",
        "--config-dir=/home/ann/x",
    ]
    assert (
        for_hydra(["-m", "+data.x_dir=~/a,~/b c"])[0] == "+data.x_dir=/home/ann/a,'/home/ann/b c'"
    )


def test_flags_and_overrides_come_in_any_order() -> None:
    sound = ["a.x=1", "b=2", "--cfg=job", "--config-dir=my conf", "--multirun"]
    for arguments in (
        ["a.x=1", "-m", "b=2", "--config-dir", "my conf", "-c", "job"],
        ["--cfg", "job", "a.x=1", "-cd", "my conf", "b=2", "--multirun"],
        ["--multi", "--cfg=job", "--config-dir=my conf", "a.x=1", "b=2"],
    ):
        assert sorted(for_hydra(arguments)) == sorted(sound)
    assert for_hydra(["--info", "a=1"]) == ["a=1", "--info=all"]
    assert for_hydra(["--info", "defaults", "a=1"]) == ["a=1", "--info=defaults"]


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("data.content_dir=", "data.content_dir is empty"),
        ("data.content_dir= ", "data.content_dir is empty"),
        ("data.style_dir=''", "data.style_dir is empty"),
        ("hydra.run.dir=", "hydra.run.dir is empty"),
        ("+data.depth_dir=", "data.depth_dir is empty"),
        ("model_file=", "model_file is empty"),
        ("init=", "init is empty"),
        ("ckpt_path=", "ckpt_path is empty"),
        ("loss.vgg.weights=", "loss.vgg.weights is empty"),
        ("callbacks.stylized_grid.folder=", "callbacks.stylized_grid.folder is empty"),
        ("data.content_dir=a${b", "data.content_dir: a path can't have ${ in its name, a${b"),
        ("hydra.run.dir=$HOME/x", "single quotes, or write ${oc.env:NAME}"),
        ("data.style_dir=${HOME}/x", "single quotes, or write ${oc.env:NAME}"),
        ("--config-dir=", "--config-dir is empty"),
        ("--epochs", "there is no flag --epochs: say trainer.max_steps="),
        ("--batch-size=3", "there is no flag --batch-size: say data.batch_size="),
        ("--lr", "there is no flag --lr: say model.learning_rate="),
        ("-lr", "there is no flag -lr: say model.learning_rate="),
        ("--resume", "there is no flag --resume: say ckpt_path=last"),
        ("--output", "there is no flag --output: say hydra.run.dir="),
        ("--data.content_dir=x", "leave out the dashes, data.content_dir=VALUE"),
        ("--frobnicate", "there is no flag --frobnicate: say key=value"),
        ("--config", "ambiguous option: --config could match"),
        ("resume", "'resume' is not key=value: say ckpt_path=last"),
        ("data.content_dir", "is not key=value: say data.content_dir=PHOTOS"),
        ("network.depth", "say network.depth=VALUE, without spaces around the ="),
        ("=3", "sets no key"),
        ("=", "sets no key"),
        ("", "sets no key"),
        (".", "'.' is not key=value: say data.content_dir=PHOTOS data.style_dir=PAINTINGS"),
        ("+lr=3", "there is no lr: say model.learning_rate="),
        ("++epochs=3", "there is no epochs: say trainer.max_steps="),
    ],
)
def test_what_can_not_be_meant_is_named(argument: str, complaint: str) -> None:
    with pytest.raises(ValueError) as error:
        for_hydra(["trainer.max_steps=3", argument, "seed=1"])
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_path_in_a_sweep_is_refused() -> None:
    with pytest.raises(ValueError, match=r"data\.style_dir is empty"):
        for_hydra(["-m", "data.style_dir=a,"])


def test_every_key_of_ours_that_holds_a_path_is_known() -> None:
    for key in (
        *("data.content_dir", "data.style_dir", "data.skipped_photos", "init", "model_file"),
        *("ckpt_path", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "run_dir"),
        *("loss.vgg.weights", "callbacks.model_file.path", "callbacks.stylized_grid.folder"),
        *("callbacks.last_checkpoint.dirpath", "logger.save_dir", "trainer.default_root_dir"),
        *("data.mask_dir", "callbacks.mine.file", "network.weights_file"),
    ):
        assert is_path_key(key), key
    for key in ("callbacks.model_file", "hydra.job.chdir", "network", "loss.style_weights"):
        assert not is_path_key(key), key


def test_what_is_suggested_is_taken() -> None:
    """Every key and group that a suggestion names is there."""
    placeholders = ("PHOTOS", "PAINTINGS", "FILE", "NAME", "DIR")
    for suggestion in set(SAID_HERE.values()):
        words = shlex.split(suggestion.replace("(", " (").partition(" (")[0].replace(",", " "))
        overrides = [
            word for word in words if "=" in word and not word.startswith("hydra.run.dir=...")
        ]
        assert overrides or "--config-dir" in words
        assert not any(word in placeholders for word in overrides)
        with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
            hydra.compose("train", [word for word in overrides if not word.startswith("hydra.")])


@pytest.mark.parametrize(
    ("path", "typed"),
    [
        ("outputs/monet", "x_dir=outputs/monet"),
        ("my photos", "x_dir=my photos"),
        ("-run", "x_dir=./-run"),
        ("~", "x_dir=./~"),
        ("'a'", "x_dir='\\'a\\''"),
        ("null", "x_dir='null'"),
        ("2024", "x_dir=2024"),
    ],
)
def test_an_override_is_printed_as_people_type_it(path: str, typed: str) -> None:
    assert path_override("x_dir", path) == typed
    value = parsed(for_hydra([typed])[0])
    assert os.path.normpath(value) == path


@pytest.mark.parametrize("name", ["-run", "~", "null", "'a'", "my run", "2024", "it's, {b}"])
def test_the_command_that_goes_on_finds_the_folder(name: str) -> None:
    typed = ["--config-dir", "my conf", "data.content_dir=it's (2)", "ckpt_path=old", "seed=3"]
    words = shlex.split(resume_command(typed, Path(name)))
    assert words[0] == "polystyle-train"
    *overrides, flag = for_hydra(words[1:])
    assert flag == "--config-dir=my conf"
    values = {text.partition("=")[0]: parsed(text) for text in overrides}
    assert os.path.normpath(values.pop("hydra.run.dir")) == name
    assert values == {"data.content_dir": "it's (2)", "seed": 3, "ckpt_path": "last"}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("{}", {}),
        ("{wave:2}", {"wave": 2}),
        ("{1:2, null:0.5,true: 1e-3}", {"1": 2, "null": 0.5, "true": 1e-3}),
        ("{starry night:2,Café:3,北斎:4}", {"starry night": 2, "Café": 3, "北斎": 4}),
        ("{a:b:2}", {"a:b": 2}),
        ("{'a, b':2,\"it's\":3}", {"a, b": 2, "it's": 3}),
        ("{it's:2,o'x:3}", {"it's": 2, "o'x": 3}),
        ("{it's (2):2}", {"it's (2)": 2}),
        ("{x:much}", {"x": "much"}),
    ],
)
def test_names_of_styles_are_text(text: str, numbers: dict) -> None:
    assert style_numbers(text) == numbers
    key = "loss.style_coefficients"
    [override] = for_hydra([f"{key}={text}"])
    with hydra.initialize_config_module("polystyle.configs", version_base="1.3"):
        cfg = hydra.compose("train", [override])
    read_style_numbers(cfg)
    assert OmegaConf.to_container(cfg)["loss"]["style_coefficients"] == numbers


def test_names_of_styles_in_a_file_are_text() -> None:
    cfg = OmegaConf.create({"loss": {"style_coefficients": {2: 3, True: 4, "x": 5}}})
    read_style_numbers(cfg)
    assert cfg.loss.style_coefficients == {"2": 3, "true": 4, "x": 5}


@pytest.mark.parametrize("text", ["{wave}", "{wave:2", "{a:1}{b:2"])
def test_numbers_of_styles_in_another_form_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be \{STYLE:NUMBER, \.\.\.\}, not \{"):
        style_numbers(text)


def test_lightnings_folder_for_other_devices_is_read_back() -> None:
    for folder in ('the "best"', "a\\", "a b"):
        added = f'hydra.run.dir="{folder}"'
        assert parsed(for_hydra([added], is_rank_zero=False)[0]) == folder


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("logger=null", "logger=none"),
        ("logger=csv,null", "logger=csv,none"),
        ("logger={_target_:null.Logger}", "logger={_target_:null.Logger}"),
    ],
)
def test_no_logger_is_the_choice_none(typed: str, read: str) -> None:
    assert for_hydra([typed]) == [read]
