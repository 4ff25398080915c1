"""The page of polystyle-studio: its tabs."""

import gradio as gr

from polystyle.studio_app.networks import Networks
from polystyle.studio_app.painting_tab import PaintingTab
from polystyle.studio_app.runs_tab import ModelsTab, RunsTab
from polystyle.studio_app.sessions import Sessions


def build_page(networks: Networks, sessions: Sessions) -> gr.Blocks:
    """The page.

    Args:
        networks: what it paints with.
        sessions: who has it open.
    """
    with gr.Blocks(title="polystyle studio", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown("# polystyle studio", elem_id="title")
        with gr.Tabs():
            with gr.Tab("Paint"):
                painting = PaintingTab(networks, sessions)
            with gr.Tab("Runs") as runs_tab:
                runs = RunsTab(sessions)
            with gr.Tab("Two networks") as models_tab:
                models = ModelsTab(networks, sessions)
        painting.bind(page)
        runs.bind(runs_tab)
        models.bind(models_tab)
    return page
