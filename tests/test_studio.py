"""The studio without its page; `make test-browser` has the page."""

import base64
import importlib.util
import re
import shlex
import socket
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from attacks.ground import make_model
from PIL import Image

from polystyle.networks.model_file import save_model
from polystyle.painting.paint_job import PaintOptions
from polystyle.studio_app.choices import BLEND, CORNERS, ONE, Choices
from polystyle.studio_app.full_size import FullSizePainting
from polystyle.studio_app.networks import Networks
from polystyle.studio_app.regions import COLORS, read_drawing, region_masks
from polystyle.studio_app.runs import find_runs, read_run
from polystyle.studio_app.serve import address_lines, check_address, serve
from polystyle.studio_app.sessions import Sessions, file_name, read_photo, uploaded_photo
from polystyle.studio_app.setting import (
    Setting,
    blend_of,
    command_arguments,
    corner_weights,
    from_query,
    to_query,
)
from polystyle.stylize import parser

NAMES = ["haze", "rust", "wave", "photo"]
PLAIN = Setting("pretrained", {"wave": 1.0})
FULL = Setting("outputs/my run", {"wave": 0.3, "haze": 0.7}, 0.5, 2.0, True, by_pixels=True)


def png_url(drawing: Image.Image) -> str:
    file = BytesIO()
    drawing.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def test_a_plain_setting_is_a_short_command() -> None:
    assert shlex.join(command_arguments(PLAIN, "photo.jpg")) == "photo.jpg --style wave"


def test_the_command_line_says_all_that_is_set() -> None:
    masks = [("a-mask-red.png", "rust")]
    arguments = command_arguments(FULL, "-a photo.jpg", masks, device="cpu")
    options = PaintOptions(**vars(parser().parse_intermixed_args(arguments)))
    assert options.photos == ["./-a photo.jpg"]
    assert options.model == Path("outputs/my run")
    assert options.style == ["wave:0.3", "haze:0.7"]
    assert options.mask == ["a-mask-red.png=rust"]
    assert (options.strength, options.strength_by, options.scale) == (0.5, "pixels", 2.0)
    assert options.keep_colors
    assert options.device == "cpu"


@pytest.mark.parametrize("setting", [PLAIN, FULL], ids=["plain", "full"])
def test_a_link_opens_the_same_setting(setting: Setting) -> None:
    default = Setting(setting.model, {"rust": 1.0}, by_pixels=setting.by_pixels)
    assert from_query(to_query(setting, None), NAMES, default) == setting


@pytest.mark.parametrize("query", ["style=monet", "style=wave:x", "strength=much", "scale=nan"])
def test_a_link_that_says_nonsense_is_refused(query: str) -> None:
    with pytest.raises(ValueError, match="the link"):
        from_query(query, NAMES, PLAIN)


def test_a_link_asks_for_no_more_than_the_page_offers() -> None:
    setting = from_query("scale=900&strength=-3", NAMES, PLAIN)
    assert (setting.scale, setting.strength) == (4.0, 0.0)


def test_corners_blend_bilinearly_and_a_corner_is_one_style() -> None:
    corners = ["haze", "rust", "wave", "haze"]
    assert blend_of(corners, corner_weights(0, 0)) == {"haze": 1.0}
    assert blend_of(corners, corner_weights(0.25, 0.5)) == {
        "haze": 0.5,
        "rust": 0.125,
        "wave": 0.375,
    }
    with pytest.raises(ValueError, match="are 0"):
        blend_of(["haze"], [0.0])


@pytest.mark.parametrize(
    ("mode", "styles"),
    [
        (ONE, {"rust": 1.0}),
        (BLEND, {"wave": 0.5, "haze": 0.25}),
        (CORNERS, {"haze": 0.25, "rust": 0.25, "wave": 0.25, "photo": 0.25}),
    ],
)
def test_each_way_to_choose_styles(mode: str, styles: dict[str, float]) -> None:
    plain = ("net", mode, "rust", ["wave", "haze"], (0.5, 0.5), 1.0, 1.0, False, 2.0)
    values = (*plain, *NAMES, "haze", "rust", "wave", 0.5, 0.25, 1.0, 1.0, 1.0, 1.0)
    choices = Choices.of(values)
    assert choices.styles() == styles
    assert choices.style_of_region("blue") == "wave"


def test_a_brushed_region_is_a_mask_with_soft_edges() -> None:
    drawing = Image.new("RGBA", (100, 50))
    drawing.paste((*COLORS["green"], 255), (0, 0, 50, 50))
    hard = region_masks(drawing, (100, 50), 0)
    assert list(hard) == ["green"]
    assert np.array_equal(np.asarray(hard["green"]), np.repeat([[255] * 50 + [0] * 50], 50, axis=0))
    soft = np.asarray(region_masks(drawing, (200, 100), 10)["green"])
    assert soft.shape == (100, 200)
    assert soft[50, 10] == 255
    assert soft[50, -10] == 0
    assert 100 < soft[50, 100] < 155


def test_what_is_no_drawing_is_refused_and_an_empty_one_is_none() -> None:
    assert read_drawing("") is None
    assert read_drawing(png_url(Image.new("RGBA", (20, 10)))) is None
    for text in ("nonsense", "data:image/png;base64,AAAA", png_url(Image.new("RGBA", (3000, 1)))):
        with pytest.raises(ValueError, match="brush them again"):
            read_drawing(text)


def test_an_upload_is_copied_and_deleted_when_its_tab_is_closed(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "sessions")
    upload = tmp_path / "uploads/abc/its.png"
    upload.parent.mkdir(parents=True)
    Image.new("RGB", (900, 400), "teal").save(upload)
    session = sessions.get("one")
    assert sessions.get("one") is session is not sessions.get("two")
    photo = uploaded_photo(session, upload, "it's mine.png")
    assert (photo.typed, photo.size) == ("it's mine.png", (900, 400))
    assert photo.path.parent.parent == session.folder
    assert photo.preview.size == (600, 267)
    sessions.close("one")
    assert not session.folder.exists()
    assert not upload.parent.exists()
    assert session.closed.is_set()
    sessions.close("one")


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("cut.jpg", b"\xff\xd8\xff\xe0", "cut.jpg: can't be read"),
        ("clip.mp4", b"any", "clip.mp4: it is a video"),
    ],
)
def test_a_bad_upload_is_told_in_a_line_and_deleted_at_the_end(
    tmp_path: Path, name: str, content: bytes, line: str
) -> None:
    upload = tmp_path / "uploads/abc/file"
    upload.parent.mkdir(parents=True)
    upload.write_bytes(content)
    sessions = Sessions(tmp_path / "sessions")
    with pytest.raises(ValueError, match=line):
        uploaded_photo(sessions.get("one"), upload, name)
    sessions.close("one")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("told", "name"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a.jpg", "a.jpg"),
        ("", "photo"),
        ("..", "photo"),
        ("é" * 200 + ".png", "photo.png"),
    ],
)
def test_the_name_that_a_browser_tells_is_a_files_name(told: str, name: str) -> None:
    assert file_name(told) == name


def test_a_preview_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (60, 30)).save(tmp_path / "turned.jpg", exif=exif)
    photo = read_photo(tmp_path / "turned.jpg", "turned.jpg")
    assert photo.size == photo.preview.size == (30, 60)


def test_a_network_is_loaded_again_when_its_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(Path("outputs/run/model.safetensors"), make_model(NAMES))
    save_model(Path("net.safetensors"), make_model(NAMES))
    networks = Networks([Path("net.safetensors")], "cpu")
    assert networks.choices() == ["net.safetensors", "outputs/run", "pretrained"]
    first = networks.get("net.safetensors")
    assert networks.get("net.safetensors") is first
    assert first.names == NAMES[:-1]
    assert first.has_identity_style
    save_model(Path("net.safetensors"), make_model(["other"]))
    assert networks.get("net.safetensors").names == ["other"]
    with pytest.raises(ValueError, match="offers no network"):
        networks.get("/etc/passwd")


def test_a_run_says_how_far_it_is_and_how_to_resume(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    for name in ("stylized/step-000000.png", "stylized/step-000250.png", ".hydra/overrides.yaml"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).touch()
    (run / "run.json").write_text('{"configuration": {"trainer": {"max_steps": 500}}}')
    (run / ".hydra/overrides.yaml").write_text("- experiment=fast\n- ckpt_path=last\n")
    assert find_runs(tmp_path) == [run]
    read = read_run(run)
    assert list(read.pictures) == [0, 250]
    assert read.state == "step 250 of 500, under way"
    assert shlex.split(read.resume_command) == [
        *("polystyle-train", "experiment=fast", f"hydra.run.dir={run}", "ckpt_path=last")
    ]
    (run / "checkpoints").mkdir()
    (run / "checkpoints/step-000500.ckpt").touch()
    assert read_run(run).state == "finished: step 500 of 500"
    (run / "run.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        read_run(run)


def test_without_gradio_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=re.escape("pip install 'polystyle[studio]'")):
        serve([], "127.0.0.1", 7860, "cpu")


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"--host 127.0.0.1 --port {port}: Address already"):
            check_address("127.0.0.1", port)


def test_what_is_exposed_is_said() -> None:
    assert address_lines("127.0.0.1", 7860) == [
        "http://127.0.0.1:7860/ is open, to this machine alone. Ctrl-C ends it."
    ]
    assert "whoever can reach port 80 " in address_lines("0.0.0.0", 80)[0]


@pytest.mark.slow
def test_painting_at_full_size_is_polystyle_stylize(tmp_path: Path) -> None:
    """Its errors, as lines; `make test-browser` has its pictures."""
    painting = FullSizePainting(["missing.png", "--style", "wave"], tmp_path)
    list(painting.progress())
    with pytest.raises(ValueError, match="can't be read: No such file"):
        painting.result()
    painting.close()
    assert not painting.is_stopped


def test_painting_at_full_size_can_be_stopped(tmp_path: Path) -> None:
    painting = FullSizePainting(["missing.png", "--style", "wave"], tmp_path)
    painting.stop()
    assert painting.is_stopped
    assert painting.process.returncode is not None
    painting.close()


@pytest.mark.slow
def test_the_page_builds(tmp_path: Path) -> None:
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("the studio needs Gradio: pip install 'polystyle[studio]'")
    # In a process of its own: Gradio takes seconds to import, and warns of itself.
    program = (
        "from pathlib import Path\n"
        "from polystyle.studio_app import networks, page, sessions\n"
        "found = networks.Networks([], 'cpu'), sessions.Sessions(Path('sessions'))\n"
        "built = page.build_page(*found)\n"
        "print(built.analytics_enabled, *[f.api_visibility for f in built.fns.values()])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    analytics, *visibilities = result.stdout.split()
    assert analytics == "False"
    assert set(visibilities) <= {"private", "undocumented"}
