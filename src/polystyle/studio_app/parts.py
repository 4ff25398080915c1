"""What Gradio has no component for: thumbnails to choose from, the pad between four corners, the
brush. Each is a `gr.HTML` with its template, style and script under web/."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from polystyle.studio_app.choices import in_words

WEB = Path(__file__).parent / "web"


def web_file(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")


def part(name: str, **props: Any) -> gr.HTML:
    """A `gr.HTML` from the files under web/ with a name."""
    return gr.HTML(
        html_template=web_file(f"{name}.html"),
        css_template=web_file(f"{name}.css"),
        js_on_load=web_file(f"{name}.js"),
        apply_default_css=False,
        **props,
    )


def style_picker(label: str, elem_id: str) -> gr.HTML:
    """Thumbnails; the event ``pick`` has the ``name`` of the one that was clicked.

    Its props are ``styles``, see `thumbnails`, and ``chosen``, the names of those marked.
    """
    return part("picker", label=label, elem_id=elem_id, styles=[], chosen=[])


def blend_pad() -> gr.HTML:
    """A square with a dot; the event ``moved`` has ``across`` and ``down``, from 0 to 1."""
    return part("pad", elem_id="pad")


def brush() -> gr.HTML:
    """The photo to brush on; the event ``brushed`` has the ``drawing``: a PNG as a data URL.

    Its prop ``photo`` is a URL.
    """
    return part("brush", elem_id="brush", photo="")


def thumbnails(names: Sequence[str], pictures: Mapping[str, bytes]) -> list[dict[str, str]]:
    """Styles as `style_picker` takes them."""
    return [
        {
            "name": name,
            "title": in_words(name),
            "picture": data_url(pictures[name]) if name in pictures else "",
        }
        for name in names
    ]


def data_url(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def photo_input(**options: Any) -> gr.Image:
    """An image upload whose handler gets the file as it came, as (path, name on the user's
    machine): Gradio itself would decode it first, and fail on what Pillow can't read."""
    upload = gr.Image(image_mode=None, type="filepath", **options)
    upload.preprocess = as_it_came
    return upload


def as_it_came(payload: Any) -> tuple[Path, str] | None:
    """An upload's file, and its name on the user's machine; None if there is none."""
    if payload is None or not payload.path:
        return None
    return Path(payload.path), payload.orig_name or Path(payload.path).name
