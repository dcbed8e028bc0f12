"""Look of the page: a theme for Gradio's components and `theme.css` for ours; both are local."""

import gradio as gr

from diffusionad.inspection.visualize import BACKGROUND, DEFECTIVE, GOOD, UNKNOWN
from diffusionad.ui.components.static_files import read_static_file
from diffusionad.ui.serving.mcp import is_mcp_enabled
from diffusionad.ui.serving.uploads import MAX_FILE_MB

SYSTEM_FONTS = (
    "system-ui",
    "-apple-system",
    "Segoe UI",
    "Roboto",
    "Noto Sans",
    "Helvetica Neue",
    "sans-serif",
)

THEME = gr.themes.Base(
    primary_hue="indigo",
    secondary_hue="indigo",
    neutral_hue="slate",
    radius_size="md",
    font=SYSTEM_FONTS,
    font_mono=("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"),
).set(
    body_background_fill="*neutral_50",
    body_background_fill_dark="*neutral_950",
    block_border_width="1px",
    block_label_background_fill="*background_fill_primary",
    block_label_text_weight="500",
    block_title_text_weight="500",
    button_primary_background_fill="*primary_600",
    button_primary_background_fill_hover="*primary_700",
    button_primary_background_fill_dark="*primary_600",
    button_primary_text_color="white",
    slider_color="*primary_500",
    # The default grey is too faint on white.
    body_text_color_subdued="*neutral_500",
    block_info_text_color="*neutral_500",
    link_text_color_dark="*primary_300",
    link_text_color_visited_dark="*primary_300",
    link_text_color_hover_dark="*primary_200",
    link_text_color_active_dark="*primary_200",
)


def _rgb(color: tuple[int, int, int]) -> str:
    return f"rgb({color[0]} {color[1]} {color[2]})"


# The text of a verdict is dark on a light colour in both modes, with a contrast of 6 : 1 and more.
VERDICT_COLOURS = (
    f":root {{ --good: {_rgb(GOOD)}; --defective: {_rgb(DEFECTIVE)}; --unknown: {_rgb(UNKNOWN)}; "
    f"--on-verdict: {_rgb(BACKGROUND)}; }}"
)

# Shared by `app.py` and `diffusionad serve`.
LAUNCH_OPTIONS = {
    "theme": THEME,
    "css": f"{VERDICT_COLOURS}\n{read_static_file('theme.css')}",
    "js": read_static_file("name_pictures.js"),
    "mcp_server": is_mcp_enabled(),
    "max_file_size": f"{MAX_FILE_MB}mb",
    "ssr_mode": False,
    "run_history": False,
    "footer_links": ["api", "settings"],
}
