"""polystyle-studio as people use it: in Chromium, without a window.

`make test-browser` runs this. It is no part of `make test`: it needs Gradio, Playwright and a
Chromium, and is skipped, with the reason, where one of them is missing.
"""

import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from attacks.ground import make_model
from PIL import Image
from training import ONE_THREAD

from polystyle.networks.model_file import save_model

BIN = Path(sys.executable).parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
NAMES = ["starry_night", "wave", "the_scream", "water_lilies", "haze", "rust", "photo"]
PORT = 7899
ADDRESS = f"http://127.0.0.1:{PORT}/"
PATIENCE = 300  # seconds

pytest.importorskip("gradio", reason="pip install 'polystyle[studio]'")
sync_api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
if CHROMIUM is None:
    pytest.skip("there is no Chromium: apt-get install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small network and photos."""
    root = tmp_path_factory.mktemp("studio")
    save_model(root / "net/model.safetensors", make_model(NAMES))
    rng = np.random.default_rng(0)
    for name, size in (("tall's photo (1)", (90, 140)), ("wide", (160, 100))):
        noise = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        noise.resize(size, Image.Resampling.BICUBIC).save(root / f"{name}.png")
    Image.new("RGB", (4200, 4000), "teal").save(root / "large.png")
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    (root / "text.png").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[subprocess.Popen]:
    command = [BIN / "polystyle-studio", "--model", "net", "--port", str(PORT)]
    with (root / "studio.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=root,
            env={**ONE_THREAD, "TMPDIR": str(root)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    wait_for(lambda: "is open" in (root / "studio.log").read_text())
    yield process
    process.terminate()
    process.wait(PATIENCE)
    assert not list(root.glob("polystyle-studio-*"))


@pytest.fixture(scope="module")
def browser(server: subprocess.Popen) -> Iterator["sync_api.Browser"]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: "sync_api.Browser") -> Iterator[Callable[..., "Visit"]]:
    """Opens pages, each in a browser of its own. At the end: no request went elsewhere, and there
    was no error in the console."""
    visits = []

    def visit(query: str = "", width: int = 1280) -> Visit:
        visits.append(Visit(browser, query, width))
        return visits[-1]

    yield visit
    for one in visits:
        one.context.close()
        assert one.requests
        assert all(url.startswith((ADDRESS, "data:", "blob:")) for url in one.requests)
        assert one.errors == []


class Visit:
    """A page that is open."""

    def __init__(self, browser: "sync_api.Browser", query: str, width: int) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900})
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE * 1000)
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        self.page.goto(ADDRESS + query)
        self.wait_for(lambda: self.command)

    @property
    def command(self) -> str:
        return self.page.input_value("#command textarea")

    @property
    def status(self) -> str:
        return self.page.inner_text("#status")

    def wait_for(self, condition: Callable[[], object]) -> None:
        wait_for(condition, lambda: self.page.wait_for_timeout(100))

    def until_changed(self, use: Callable[[], object]) -> str:
        """Use a control; the command line after that."""
        before = self.command
        use()
        self.wait_for(lambda: self.command != before)
        return self.command

    def until_painted(self, use: Callable[[], object], expected: str) -> None:
        """Use a control, until the command line has what is expected."""
        use()
        self.wait_for(lambda: expected in self.command)

    def upload(self, path: Path) -> None:
        self.page.set_input_files("#upload input[type=file]", str(path))

    def drag(self, selector: str, *points: tuple[float, float]) -> None:
        """Drag the mouse over an element; points are shares of its width and height."""
        target = self.page.locator(selector)
        # To the end: on a phone, the picture stays on top of what is scrolled under it.
        target.evaluate("element => element.scrollIntoView({block: 'end'})")
        box = target.bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=5)
        self.page.mouse.up()

    def preview(self) -> np.ndarray:
        """The pixels of the painting that is shown."""
        url = self.page.locator("#compare img").last.get_attribute("src")
        with Image.open(BytesIO(self.context.request.get(url).body())) as image:
            return np.asarray(image.convert("RGB")).astype(int)

    def downloaded(self, folder: Path) -> Path:
        """Paint at full size, and download all there is."""
        self.page.click("#paint")
        self.page.wait_for_selector("#download", state="visible")
        for link in self.page.locator("#masks a[download]").all():
            save(self.page, link, folder)
        return save(self.page, self.page.locator("#download"), folder)


def save(page: "sync_api.Page", link: "sync_api.Locator", folder: Path) -> Path:
    with page.expect_download() as download:
        link.click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def wait_for(condition: Callable[[], object], pause: Callable[[], object] | None = None) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        (pause or (lambda: time.sleep(0.1)))()


def painted_by(command: str, folder: Path) -> Path:
    """The picture that a command line paints in a folder."""
    words = shlex.split(command)
    assert words[0] == "polystyle-stylize"
    result = subprocess.run(
        [BIN / words[0], *words[1:]], cwd=folder, env=ONE_THREAD, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    [path] = (folder / "painted").iterdir()
    return path


def sessions(root: Path) -> list[Path]:
    return list(root.glob("polystyle-studio-*/sessions/*"))


def test_the_download_is_what_the_command_line_paints(
    visit: Callable, root: Path, tmp_path: Path
) -> None:
    page = visit()
    shutil.copytree(root / "net", tmp_path / "net")
    photo = root / "tall's photo (1).png"
    shutil.copy(photo, tmp_path)
    fill = page.page.fill
    page.until_painted(lambda: page.upload(photo), "tall")
    page.until_painted(lambda: page.page.click("#styles [data-name=wave]"), "--style wave")
    page.page.get_by_role("tab", name="Blend").click()
    page.until_painted(lambda: page.page.click("#blend-styles [data-name=haze]"), "haze:1")
    page.until_painted(lambda: fill("#weight-0 input[type=number]", "0.35"), "night:0.35")
    page.until_painted(lambda: fill("#strength input[type=number]", "0.8"), "--strength 0.8")
    page.until_painted(lambda: fill("#scale input[type=number]", "2"), "--scale 2")
    page.until_painted(lambda: page.page.check("#keep-colors input"), "--keep-colors")
    page.page.click("#brush-panel button.label-wrap")
    page.until_painted(lambda: page.drag("#brush canvas", (0.1, 0.2), (0.7, 0.3)), "red.png")
    page.page.click("#brush [data-tool=blue]")
    page.until_painted(lambda: page.drag("#brush canvas", (0.3, 0.8), (0.9, 0.8)), "blue.png")
    command = page.command
    assert shlex.split(command)[1:] == [
        *("tall's photo (1).png", "--model", "net"),
        *("--style", "starry_night:0.35", "--style", "haze:1"),
        *("--mask", "tall's photo (1)-mask-red.png=wave"),
        *("--mask", "tall's photo (1)-mask-blue.png=water_lilies"),
        *("--strength", "0.8", "--scale", "2", "--keep-colors"),
    ]
    downloaded = page.downloaded(tmp_path)
    painted = painted_by(command, tmp_path)
    assert downloaded.name == painted.name
    assert downloaded.read_bytes() == painted.read_bytes()


def test_the_pad_blends_its_corners_and_the_link_opens_the_setting(visit: Callable) -> None:
    page = visit("?photo=cat")
    page.until_changed(lambda: page.page.get_by_role("tab", name="Four corners").click())
    page.until_painted(lambda: page.drag("#pad .pad", (0.5, 0.5), (0.2, 0.3)), "night:0.56")
    assert "--style wave:0.14 --style the_scream:0.24 --style water_lilies:0.06" in page.command
    page.until_painted(lambda: page.page.fill("#scale input[type=number]", "1.5"), "1.5")
    link = page.page.input_value("#link textarea")
    assert link.startswith(ADDRESS)
    again = visit(link.removeprefix(ADDRESS))
    assert again.command == page.command
    assert "chelsea.png" in again.command
    assert (again.preview() == page.preview()).all()


def test_a_link_of_another_network_opens_the_page(visit: Callable) -> None:
    page = visit("?style=monet&strength=much")
    page.page.get_by_text("the link's style 'monet'").wait_for()
    assert page.command.endswith("--model net --style starry_night")


def test_broken_uploads_are_told_in_a_line_and_the_page_lives(visit: Callable, root: Path) -> None:
    page = visit()
    before = page.command
    for name, line in (
        ("broken.jpg", "broken.jpg: can't be read"),
        ("text.png", "text.png: can't be read: it is no picture that Pillow knows"),
    ):
        page.upload(root / name)
        page.page.get_by_text(re.compile(re.escape(line))).wait_for()
    assert page.command == before
    page.until_changed(lambda: page.upload(root / "wide.png"))
    assert "wide.png" in page.command


def test_two_browsers_do_not_mix_and_a_closed_tab_is_deleted(visit: Callable, root: Path) -> None:
    first, second = visit("?style=wave"), visit("?style=haze")
    first.until_changed(lambda: first.upload(root / "wide.png"))
    second.until_changed(lambda: second.upload(root / "tall's photo (1).png"))
    first.until_changed(lambda: first.page.check("#keep-colors input"))
    assert first.command == "polystyle-stylize wide.png --model net --style wave --keep-colors"
    assert second.preview().shape[0] > second.preview().shape[1]
    assert first.preview().shape[0] < first.preview().shape[1]
    assert len(sessions(root)) >= 2
    first.context.close()
    second.context.close()
    wait_for(lambda: not sessions(root))
    assert not [path for path in root.glob("polystyle-studio-*/**/*.png") if path.is_file()]


def test_a_closed_tab_and_a_button_stop_the_painting(
    visit: Callable, root: Path, server: subprocess.Popen
) -> None:
    page = visit()
    page.until_painted(lambda: page.upload(root / "large.png"), "large.png")
    page.page.click("#paint")
    page.wait_for(lambda: children(server))
    page.page.click("#stop")
    page.wait_for(lambda: not children(server))
    page.page.wait_for_selector("#paint", state="visible")
    page.page.click("#paint")
    page.wait_for(lambda: children(server))
    page.context.close()
    wait_for(lambda: not children(server))


def children(server: subprocess.Popen) -> list[str]:
    """The process IDs of the paintings under way."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=", "--ppid", str(server.pid)], capture_output=True, text=True
    )
    return [line for line in listed.stdout.splitlines() if " Z" not in line]


def test_a_replaced_network_is_noticed(visit: Callable, root: Path) -> None:
    page = visit("?style=wave")
    before = page.preview()
    model = make_model(NAMES)
    for parameter in model.net.parameters():
        parameter.data.mul_(1.5)
    save_model(root / "net/model.safetensors", model)
    page.until_changed(lambda: page.page.check("#keep-colors input"))
    page.page.get_by_text("net was replaced on the disk").wait_for()
    page.until_changed(lambda: page.page.uncheck("#keep-colors input"))
    assert (page.preview() != before).any()


def test_on_a_phone_nothing_is_wider_than_the_screen(visit: Callable) -> None:
    page = visit(width=390)
    page.page.click("#brush-panel button.label-wrap")
    page.until_changed(lambda: page.drag("#brush canvas", (0.2, 0.5), (0.8, 0.5)))
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
