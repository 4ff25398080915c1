"""The command line of polystyle-train, made ready for Hydra: flags in any order, paths and names of
styles of any characters, and the words of other tools. Standard library only, so that --help
answers at once.

Hydra reads the value of ``key=value`` by a grammar of its own, in which parentheses, commas, quotes
and letters beyond ASCII have a meaning or are errors, and in which 2024 is a number. A path has
none of this in mind: the values of the keys that are paths are quoted for that grammar here.
"""

import argparse
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from polystyle.files.path_text import typed_path

# Hydra's flags: those that stand alone, and those with a value.
SWITCHES = (
    *("--help -h", "--hydra-help", "--version", "--resolve", "--run -r", "--multirun -m"),
    "--shell-completion -sc",
)
VALUED = (
    *("--cfg -c", "--package -p", "--config-path -cp", "--config-name -cn", "--config-dir -cd"),
    "--experimental-rerun",
)
FLAGS_OF_PATHS = ("--config-path", "--config-dir", "--experimental-rerun")

# The keys whose values are paths: by the last part of their name, which users' own data and
# callbacks share, or by their whole name.
PATH_NAME = re.compile(
    r"(.*_)?(dir|subdir|dirpath|directory|file|filename|filepath|path|folder|root)"
)
PATH_KEYS = ("init", "data.skipped_photos", "loss.vgg.weights")
# Callbacks by name: what they are made of, not a path.
CALLBACK = re.compile(r"callbacks\.\w+")
# For these null means nothing, so that it is the name of a folder.
NEVER_NULL = ("data.content_dir", "init", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")

# For these [...] and {...} mean nothing, either: a class of the user's own may take lists.
ONLY_PATHS = (*NEVER_NULL, *PATH_KEYS, "data.style_dir", "model_file", "ckpt_path", ".filename")

# The keys whose value is {STYLE:NUMBER, ...}.
STYLE_NUMBERS = ("loss.style_coefficients",)

# What needs no quotes, but for some words.
PLAIN = re.compile(r"(?:\.{0,2}/)?[A-Za-z_][A-Za-z0-9_./-]*")
KEYWORDS = ("null", "true", "false", "inf", "nan")
SINGLE_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)
DOUBLE_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# Of a sweep: Hydra's functions for it.
SWEEP_FUNCTION = re.compile(r"(choice|glob|interval|range|shuffle|sort|tag)\(.*\)", re.DOTALL)

# The words of other tools, and what is typed here.
SAID_HERE = {
    **dict.fromkeys(
        ("lr", "learning_rate", "learningrate", "rate", "base_lr", "max_lr"),
        "model.learning_rate=0.001",
    ),
    **dict.fromkeys(
        ("epochs", "epoch", "num_epochs", "n_epochs", "max_epochs", "nepochs"),
        "trainer.max_steps=4000 (training is counted in steps)",
    ),
    **dict.fromkeys(
        (
            *("steps", "num_steps", "max_steps", "iterations", "iters", "num_iterations"),
            *("max_iter", "max_iters", "niter", "n_iter", "num_iters"),
        ),
        "trainer.max_steps=4000",
    ),
    **dict.fromkeys(
        ("batch_size", "batchsize", "batch", "bs", "train_batch_size"), "data.batch_size=4"
    ),
    **dict.fromkeys(
        ("gpus", "num_gpus", "n_gpus", "ngpu", "devices", "gpu_ids", "multi_gpu", "distributed"),
        "trainer=ddp for all GPUs, or trainer.devices=2",
    ),
    **dict.fromkeys(
        ("gpu", "cuda", "cpu", "device", "use_cuda", "use_gpu", "no_cuda", "mps"),
        "trainer.accelerator=gpu (or cpu, mps)",
    ),
    **dict.fromkeys(
        (
            *("resume", "restore", "continue", "resume_from", "resume_from_checkpoint"),
            *("auto_resume", "checkpoint", "ckpt", "load_checkpoint", "resume_path"),
        ),
        "ckpt_path=last, with the hydra.run.dir=... of the run",
    ),
    **dict.fromkeys(
        (
            *("output", "outputs", "out", "output_dir", "out_dir", "save_dir", "save_path"),
            *("checkpoint_dir", "save_model_dir", "logdir", "log_dir", "run_dir", "workdir"),
            *("work_dir", "output_path", "name", "run_name", "exp_name", "experiment_name", "o"),
        ),
        "hydra.run.dir=outputs/NAME",
    ),
    **dict.fromkeys(
        (
            *("content", "content_dir", "contents", "photos", "dataset", "dataset_dir"),
            *("data_dir", "data_path", "train_dir", "image_dir", "input", "input_dir"),
            *("data_root", "content_path", "images", "dataset_path"),
        ),
        "data.content_dir=PHOTOS",
    ),
    **dict.fromkeys(
        (
            *("style", "styles", "style_dir", "style_image", "style_images", "paintings"),
            *("style_path", "style_img"),
        ),
        "data.style_dir=PAINTINGS",
    ),
    **dict.fromkeys(
        ("image_size", "img_size", "imsize", "crop_size", "resolution", "size", "crop", "imgsz"),
        "data.image_size=256",
    ),
    "style_size": "data.style_size=256",
    **dict.fromkeys(
        ("workers", "num_workers", "n_workers", "threads", "num_threads", "n_threads"),
        "data.num_workers=4",
    ),
    **dict.fromkeys(
        ("precision", "fp16", "amp", "mixed_precision", "bf16", "half", "use_amp", "dtype"),
        "trainer.precision=bf16-mixed",
    ),
    **dict.fromkeys(
        ("pretrained", "init_from", "finetune", "weights", "init_weights", "from_pretrained"),
        "init=pretrained (or a model file or run)",
    ),
    **dict.fromkeys(
        ("add_style", "add_styles", "base_model", "base", "model_path"),
        "experiment=add_styles model_file=outputs/NAME",
    ),
    **dict.fromkeys(("content_weight", "alpha"), "loss.content_weight=1"),
    **dict.fromkeys(("style_weight", "beta"), "loss.style_weight=5"),
    **dict.fromkeys(("tv_weight", "tv"), "loss.tv_weight=0.1"),
    **dict.fromkeys(("vgg", "vgg_path", "vgg_weights", "vgg_model"), "loss.vgg.weights=FILE"),
    **dict.fromkeys(("width", "channels", "alpha_width", "ngf"), "network.width=0.5"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "schedule"), "model/scheduler=one_cycle"),
    **dict.fromkeys(
        ("random_seed", "manual_seed", "rng_seed", "manualseed"),
        "seed=0",
    ),
    **dict.fromkeys(
        (
            *("save_every", "save_interval", "checkpoint_interval", "save_steps", "eval_every"),
            *("eval_interval", "val_interval", "val_every", "eval_steps", "val_check_interval"),
            *("save_freq", "sample_interval", "checkpoint_every"),
        ),
        "trainer.val_check_interval=500",
    ),
    **dict.fromkeys(
        ("log_interval", "log_every", "logging_steps", "print_freq", "log_freq", "print_every"),
        "trainer.log_every_n_steps=10",
    ),
    **dict.fromkeys(
        ("dry_run", "debug", "fast_dev_run", "smoke_test"), "trainer.fast_dev_run=true"
    ),
    **dict.fromkeys(
        ("grad_clip", "clip", "clip_grad", "max_grad_norm", "gradient_clip_val"),
        "trainer.gradient_clip_val=1",
    ),
    **dict.fromkeys(
        ("accumulate", "grad_accum", "gradient_accumulation_steps", "accumulate_grad_batches"),
        "trainer.accumulate_grad_batches=2",
    ),
    **dict.fromkeys(("max_time", "time_limit", "time"), "trainer.max_time=00:01:30:00"),
    **dict.fromkeys(("no_compile", "torch_compile", "compile"), "model.compile=false"),
    **dict.fromkeys(("preset", "recipe"), "experiment=fast"),
    **dict.fromkeys(("sweep", "multi_run"), "-m loss.style_weight=2,5"),
    **dict.fromkeys(("config_file", "conf", "cfg_path"), "--config-dir DIR"),
    **dict.fromkeys(("verbose", "v"), "hydra.verbose=true"),
}


def for_hydra(arguments: Sequence[str], is_rank_zero: bool = True) -> list[str]:
    """What was typed after ``polystyle-train``, as Hydra reads it: overrides, then flags.

    Args:
        arguments: overrides and flags in any order. The result of an earlier call stays as it is.
        is_rank_zero: whether they were typed; else Lightning may have changed them.

    Raises:
        ValueError: an unknown flag, a word that is no ``key=value``, or an empty path; names it,
            and what may have been meant.
    """
    flags, words = split_flags(arguments)
    is_sweep = "--multirun" in flags or any("hydra.mode=MULTIRUN" in word for word in words)
    if not is_rank_zero:
        words = [quoted_again(word) for word in words]
    for word in words:
        check_word(word)
    return [*(quoted_override(word, is_sweep) for word in words), *flags]


class FlagParser(argparse.ArgumentParser):
    """Raises its errors, which argparse would print with the usage of all flags."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}. See polystyle-train --help")


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags, each in one text with its value, and all other arguments.

    Raises:
        ValueError: a flag's value is missing, or is an empty path.
    """
    parser = FlagParser(add_help=False)
    for names in SWITCHES:
        parser.add_argument(*names.split(), dest=names.split()[0], action="store_true")
    for names in VALUED:
        parser.add_argument(*names.split(), dest=names.split()[0])
    parser.add_argument("--info", "-i", dest="--info", nargs="?", const="all")
    found, others = parser.parse_known_args(arguments)
    flags = vars(found)
    if "=" in (flags["--info"] or ""):  # the override after it: --info takes a value or none
        others.append(flags["--info"])
        flags["--info"] = "all"
    for flag in FLAGS_OF_PATHS:
        if flags[flag] is not None:
            check_not_empty(flag, flags[flag])
            flags[flag] = expanded(flags[flag])
    texts = [flag if value is True else f"{flag}={value}" for flag, value in flags.items() if value]
    return texts, [text for text in others if text != "--"]


def check_word(word: str) -> None:
    """Raises ValueError for an argument that is neither one of Hydra's flags nor an override."""
    key, equals, _ = word.partition("=")
    if word.startswith("-"):
        raise ValueError(f"there is no flag {key}: {instead_of_flag(key)}")
    if key.startswith("+") and key.lstrip("+") in SAID_HERE:
        # Hydra would add the key, which nothing reads.
        raise ValueError(f"there is no {key.lstrip('+')}: say {SAID_HERE[key.lstrip('+')]}")
    if not key:
        raise ValueError(f"{word!r} sets no key: write key=value, without spaces around the =")
    if not equals and not word.startswith("~"):
        raise ValueError(f"{word!r} is not key=value: {instead_of_word(word)}")


def instead_of_flag(flag: str) -> str:
    """What to type in place of an unknown flag."""
    name = flag.lstrip("-").replace("-", "_")
    if "." in name or "/" in name:
        return f"leave out the dashes, {name}=VALUE"
    return f"say {meant_by(name) or 'key=value. See polystyle-train --help'}"


def instead_of_word(word: str) -> str:
    """What to type in place of a word without a value."""
    if suggestion := meant_by(word):
        return f"say {suggestion}"
    if Path(expanded(word)).exists():
        return "say data.content_dir=PHOTOS data.style_dir=PAINTINGS"
    if re.fullmatch(r"[\w/]+(\.\w+)*", word):
        return f"say {word}=VALUE, without spaces around the ="
    return "see polystyle-train --help"


def meant_by(name: str) -> str | None:
    """What is typed here for another tool's word, of which the last part counts; None if it is
    unknown."""
    return SAID_HERE.get(re.split(r"[./]", name)[-1].lower().replace("-", "_"))


def is_path_key(key: str) -> bool:
    """Whether the values of a key, in dots and without ``+``, are paths."""
    if key in PATH_KEYS:
        return True
    return bool(PATH_NAME.fullmatch(key.rpartition(".")[2])) and not CALLBACK.fullmatch(key)


def quoted_override(override: str, is_sweep: bool = False) -> str:
    """An override whose path, or names of styles, Hydra reads as they were typed.

    In a sweep, commas separate values, but for those of a path that exists.

    Raises:
        ValueError: the path is empty.
    """
    key, equals, value = override.partition("=")
    name = key.lstrip("+")
    if not equals or key.startswith("~"):
        return override
    if name == "logger":  # as for a key, null means none; Hydra takes it for the name of a file
        choices = ["none" if text.strip() == "null" else text for text in split_at_commas(value)]
        return f"{key}={','.join(choices)}"
    if name in STYLE_NUMBERS and value.startswith("{"):
        values = [value] if not is_sweep else split_at_commas(value)
        return f"{key}={','.join(map(quoted, values))}"
    if not is_path_key(name):
        return override
    if not is_sweep or name.startswith("hydra."):
        values = [value]
    elif SWEEP_FUNCTION.fullmatch(value) and not exists(value):
        return override
    else:
        values = list(paths_of_sweep(value))
    return f"{key}={','.join(quoted_path(name, text) for text in values)}"


def paths_of_sweep(value: str) -> Iterator[str]:
    """The paths of a list with commas, each the longest that exists; else, up to the next comma."""
    parts = split_at_commas(value)
    while parts:
        count = len(parts)
        while count > 1 and not exists(",".join(parts[:count])):
            count -= 1
        path, parts = ",".join(parts[:count]), parts[count:]
        yield path if exists(path) else path.strip()


def split_at_commas(value: str) -> list[str]:
    """The parts of a text between commas, but for commas within braces, and within quotes at the
    start of a part: elsewhere a quote is an apostrophe."""
    quotes = rf"{SINGLE_QUOTED.pattern}|{DOUBLE_QUOTED.pattern}"
    pattern = re.compile(rf"\s*(?:{quotes})?(?:\$?\{{[^{{}}]*\}}|[^,])*", re.DOTALL)
    parts, position = [], 0
    while position <= len(value):
        part = pattern.match(value, position)
        parts.append(part[0])
        position = part.end() + 1
    return parts


def quoted_path(key: str, text: str) -> str:
    """A path as the value of a key for Hydra, ``~`` expanded. What Hydra means by quotes, null, and
    ``${...}`` stays, and so does [...] or {...} for a key that is not polystyle's, unless a file or
    folder is called so."""
    if is_quoted(text) and not exists(text):
        check_not_empty(key, unquoted(text))
        return text
    check_not_empty(key, text)
    is_folder = key.endswith("_dir") and Path(text).is_dir()
    if text.lower() == "null" and key not in NEVER_NULL and not is_folder:
        return text
    is_collection = bool(re.fullmatch(r"\[.*\]|\{.*\}", text, re.DOTALL))
    if is_collection and not key.endswith(ONLY_PATHS) and not exists(text):
        return text
    text = expanded(text)
    check_dollars(key, text)
    return text if is_plain(text) else quoted(text)


def check_dollars(key: str, text: str) -> None:
    """Raises ValueError for a path with a ``$`` that Hydra or TensorBoard would replace.

    Hydra's own ``${...}`` stays. A literal one has an escape, which the first of several readings
    takes off, so that the next one replaces it.
    """
    if "${" in text and (exists(text) or not re.search(r"\$\{[^{}]+\}", text)):
        raise ValueError(f"{key}: a path can't have ${{ in its name, {text}: rename it")
    is_variable = os.path.expandvars(text) != text
    # TensorBoard would write to the folder that the variable names.
    if is_variable and (key.startswith("hydra.") or not exists(text)):
        raise ValueError(
            f"{key} has a variable of the shell in it, {text}: leave out the single quotes, or "
            "write ${oc.env:NAME}"
        )


def path_override(key: str, path: Path | str) -> str:
    """The override that gives a key this path, as a person would type it. To be pasted into a shell
    it needs the shell's quotes."""
    return typed_override(f"{key}={quoted(typed_path(path))}")


def typed_override(override: str) -> str:
    """An override as a person would type it: without Hydra's quotes where `quoted_override` puts
    them back."""
    key, _, value = override.partition("=")
    if not is_quoted(value):
        return override
    text = unquoted(value)
    try:
        is_read_back = is_plain(text) or quoted_override(f"{key}={text}") == f"{key}={quoted(text)}"
    except ValueError:  # it is empty, which `quoted_override` refuses
        return override
    return f"{key}={text}" if is_read_back else override


def quoted_again(word: str) -> str:
    """``hydra.run.dir="<folder>"``, which Lightning adds for the processes of other devices, where
    the folder has quotes or ends with a backslash: Lightning escapes neither."""
    added = re.fullmatch(r'hydra\.run\.dir="(.*)"', word, re.DOTALL)
    if added and not DOUBLE_QUOTED.fullmatch(f'"{added[1]}"'):
        return f"hydra.run.dir={quoted(added[1])}"
    return word


def quoted(text: str) -> str:
    """A text as a string in Hydra's grammar: quotes get a backslash, and so do the backslashes
    before a quote, and no others."""
    escaped = re.sub(
        r"(\\*)('|\Z)", lambda found: 2 * found[1] + found[2].replace("'", "\\'"), text
    )
    return f"'{escaped}'"


def is_plain(text: str) -> bool:
    """Whether Hydra takes a text for itself, with and without quotes."""
    return bool(PLAIN.fullmatch(text)) and text.lower() not in KEYWORDS


def is_quoted(text: str) -> bool:
    return bool(SINGLE_QUOTED.fullmatch(text) or DOUBLE_QUOTED.fullmatch(text))


def unquoted(text: str) -> str:
    """The text that a string in Hydra's grammar stands for."""
    quote = text[0]
    return re.sub(
        rf"(\\*)({quote}|\Z)",
        lambda found: (len(found[1]) // 2) * "\\" + found[2],
        text[1:-1],
    )


def expanded(text: str) -> str:
    """A path whose ``~`` is the home folder: a shell expands it only at the start of a word."""
    return os.path.expanduser(text)  # noqa: PTH111 (Path's raises an error for an unknown user)


def exists(text: str) -> bool:
    try:
        return os.path.lexists(expanded(text))
    except ValueError:  # a NUL
        return False


def check_not_empty(name: str, path: str) -> None:
    """Raises ValueError for an empty path, which would mean the current folder."""
    if not path.strip():
        raise ValueError(
            f"{name} is empty: is a variable of the shell not set, or a space after the =?"
        )


def style_numbers(text: str) -> dict[str, int | float | str]:
    """The numbers by style of a text such as ``{wave:2, starry night:0.5}``. Names with a comma or
    a brace take quotes. What is no number stays text.

    Raises:
        ValueError: the text has another form.
    """
    if not (text.startswith("{") and text.endswith("}")):
        raise ValueError(f"must be {{STYLE:NUMBER, ...}}, not {text}")
    numbers: dict[str, int | float | str] = {}
    for pair in split_at_commas(text[1:-1]) if text[1:-1].strip() else []:
        name, colon, number = pair.rpartition(":")
        if not colon:
            raise ValueError(f"must be {{STYLE:NUMBER, ...}}, not {text}")
        name = name.strip()
        numbers[unquoted(name) if is_quoted(name) else name] = as_number(number.strip())
    return numbers


def as_number(text: str) -> int | float | str:
    """The number that a text stands for; the text if it is no number."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text
