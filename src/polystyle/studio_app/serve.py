"""The server of the page, from its start to its end. Nothing it does leaves this machine."""

import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polystyle.data.images import silence_pillow
from polystyle.studio_app.networks import Networks
from polystyle.studio_app.sessions import Sessions

if TYPE_CHECKING:
    import gradio as gr

LOCAL = ("127.0.0.1", "localhost", "::1")
# The largest upload: `polystyle.data.images` reads no larger file.
MAX_UPLOAD = "1gb"


def serve(models: Sequence[Path], host: str, port: int, device: str) -> None:
    """Serve the page until this process is stopped.

    Args:
        models: what --model names.
        host, port: where to listen.
        device: see `Painter`.

    Raises:
        OSError, ValueError: Gradio is not installed, a network can't be loaded, or the address
            can't be listened on.
    """
    if find_spec("gradio") is None:
        raise ValueError("the studio needs Gradio: pip install 'polystyle[studio]'")
    silence_pillow()
    networks = Networks(models, device)
    check_address(host, port)
    with tempfile.TemporaryDirectory(prefix="polystyle-studio-") as folder:
        build_page = prepared_gradio(Path(folder))
        sessions = Sessions(Path(folder) / "sessions")
        page = build_page(networks, sessions)
        launch(page, host, port)
        for line in address_lines(host, port):
            print(line, flush=True)
        try:
            page.block_thread()
        finally:
            sessions.close_all()
            page.close(verbose=False)


def prepared_gradio(folder: Path) -> "Callable[[Networks, Sessions], gr.Blocks]":
    """Import Gradio so that it writes to a folder and calls nobody; what builds the page."""
    # Gradio reads these when it is imported.
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "uploads")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    # Gradio asks its own server whether it is up, which a proxy would not reach.
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join(filter(None, [os.environ.get(name), *LOCAL]))
    import gradio as gr

    from polystyle.studio_app.page import build_page

    # Served as they are: a copy in Gradio's cache would outlive the session.
    gr.set_static_paths(folder / "sessions")
    return build_page


def check_address(host: str, port: int) -> None:
    """Raises OSError if nothing can listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        if os.name == "posix":  # on Windows, this would share a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            reason = error.strerror or error
            raise OSError(f"--host {host} --port {port}: {reason}") from error


def launch(page: "gr.Blocks", host: str, port: int) -> None:
    """Start the server in a thread."""
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        inbrowser=False,
        quiet=True,
        prevent_thread_lock=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        ssr_mode=False,
        max_file_size=MAX_UPLOAD,
        **look(),
    )


def look() -> dict[str, Any]:
    """Theme and stylesheet, with the system's own fonts."""
    import gradio as gr

    from polystyle.studio_app.parts import WEB

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return {"theme": gr.themes.Default(**fonts), "css_paths": WEB / "page.css"}


def address_lines(host: str, port: int) -> list[str]:
    """Where the page is, and who can open it."""
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    if host in LOCAL:
        return [f"{address} is open, to this machine alone. Ctrl-C ends it."]
    return [
        f"polystyle-studio: --host {host} exposes the page: whoever can reach port {port} of this "
        "machine can paint here and see the runs under outputs/, without a password.",
        f"{address} is open. Ctrl-C ends it.",
    ]
