"""How the screens look: a theme for Gradio's parts, CSS for ours. No font or script comes from elsewhere."""

import gradio as gr

from diffusionad.inspection.visualize import ANOMALOUS, BACKGROUND, NORMAL
from diffusionad.ui.components import theme_batch
from diffusionad.ui.serving.mcp import offers_tools
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
    # The default grey on white is too faint to read.
    body_text_color_subdued="*neutral_500",
    block_info_text_color="*neutral_500",
    link_text_color_dark="*primary_300",
    link_text_color_visited_dark="*primary_300",
    link_text_color_hover_dark="*primary_200",
    link_text_color_active_dark="*primary_200",
)


def _rgb(color: tuple[int, int, int]) -> str:
    return f"rgb({color[0]} {color[1]} {color[2]})"


# The words of a verdict are dark on a light colour in both modes: 6 : 1 and more.
CSS = (
    f":root {{ --good: {_rgb(NORMAL)}; --anomalous: {_rgb(ANOMALOUS)}; --on-verdict: {_rgb(BACKGROUND)}; }}"
    + """
.gradio-container { max-width: 1240px !important; margin: 0 auto; }
.html-container { padding: 0 !important; }
@media (max-width: 640px) {
  .gradio-container .app { padding-inline: 14px !important; }
  /* The verdict comes before what can be set, and into the first screen: examples lie in a row to swipe. */
  #inspect { flex-direction: column; }
  #inspect > .column { display: contents; }
  #advanced, #where { order: 1; }
  #picture { height: 210px !important; }
  #inspect #examples .grid-container {
    grid-template-columns: none !important; grid-auto-flow: column; grid-auto-columns: 72px; overflow-x: auto;
  }
  /* What the model is worth comes after what it says; its name stays on top. */
  #picker, #picker > .column { display: contents; }
  #own-model, #model-card { order: 1; }
  table.regions th, table.regions td { padding: .3rem .2rem !important; font-size: .8rem !important; }
  table.regions td { white-space: normal !important; }
  table.regions button { min-width: 2.4rem; padding: .2rem .35rem; }
  #canvas { height: 360px !important; min-height: 0 !important; }
  footer .show-api-divider { display: none; }  /* Gradio hides the link before it */
}

#intro h1 { font-size: 1.7rem; font-weight: 700; letter-spacing: -0.02em; margin: 0 0 .2rem; }
#intro p { font-size: 1.05rem; line-height: 1.5; margin: 0; }
#intro p.how { font-size: .95rem; color: var(--body-text-color-subdued); }

.verdict { border-radius: 12px; padding: 1.1rem 1.3rem; color: var(--on-verdict); }
.verdict.good { background: var(--good); }
.verdict.anomalous { background: var(--anomalous); }
.verdict .word {
  font-size: clamp(1.9rem, 8.5vw, 3.6rem); font-weight: 800; line-height: 1.05; letter-spacing: .01em;
}
.verdict .word, .verdict .word span, .verdict .why p { color: var(--on-verdict) !important; }
.verdict .sign { margin-right: .35em; }
.verdict .why p { margin: .25rem 0 0; font-size: 1rem; line-height: 1.4; text-wrap: pretty; }
.verdict .why p:first-child { font-weight: 600; font-variant-numeric: tabular-nums; }
.verdict.waiting { border: 2px dashed var(--border-color-primary); padding: 1.6rem 1.3rem; }
.verdict.waiting .word {
  font-size: 1.15rem; font-weight: 500; line-height: 1.4; letter-spacing: 0;
  color: var(--body-text-color-subdued) !important;
}
.gauge {
  position: relative; height: .6rem; margin: .8rem 0 .7rem; border-radius: .3rem;
  background: rgb(0 0 0 / .18);
}
.gauge .fill { height: 100%; border-radius: .3rem; background: var(--on-verdict); }
.gauge .tick {
  position: absolute; top: -.3rem; bottom: -.3rem; width: 3px; margin-left: -1px; background: white;
  box-shadow: 0 0 0 1px var(--on-verdict);
}

.card p { margin: 0 0 .5rem; }
.card dl { display: flex; flex-wrap: wrap; gap: .4rem 1.8rem; margin: 0; }
.card dt { font-size: .8rem; color: var(--body-text-color-subdued); }
.card dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }
#picker { align-items: flex-start; }

/* Small pictures fill their frame, and both frames are alike. */
#draw-found .image-frame, #draw-repaired .image-frame, #draw-found img, #draw-repaired img {
  width: 100%; height: 100%; object-fit: contain;
}
#found img, #repaired img { width: 100%; max-height: 500px; object-fit: contain; }
#enlarged .image-frame, #enlarged img { width: 100%; max-height: 400px; object-fit: contain; }
#picture .image-frame, #picture .image-frame img { width: 100%; height: 100%; object-fit: contain; }
#found label.float, #repaired label.float, #enlarged label.float { position: static; display: inline-flex; }
.dark input[type="number"] { color-scheme: dark; }
.dark input[type="range"] { --neutral-200: var(--neutral-600); }

#examples .grid-wrap, #steps .grid-wrap { min-height: 0; max-height: none; padding-top: 2.4rem; }
#examples .grid-container, #steps .grid-container {
  padding-top: 0;
  grid-template-columns: repeat(4, minmax(0, 1fr)) !important; grid-template-rows: none !important;
  grid-auto-rows: auto !important;
}
#steps .grid-container { grid-template-columns: repeat(auto-fill, minmax(max(130px, 30%), 1fr)) !important; }
#examples .thumbnail-item, #steps .thumbnail-item {
  aspect-ratio: auto; height: auto; width: 100%; display: block;
}
#examples .thumbnail-item img, #steps .thumbnail-item img { aspect-ratio: 1; }
#examples .caption-label, #steps .caption-label {
  position: static; max-width: none; padding: .15rem .25rem; border: 0; border-radius: 0; text-align: center;
  font-size: .75rem; color: var(--body-text-color); white-space: normal;
}
#download-file { display: none !important; } /* clicked by the buttons above it */
#tabs button[role="tab"][aria-selected="true"] { color: var(--primary-600); }
.dark #tabs button[role="tab"][aria-selected="true"] { color: var(--primary-300); }
#view .wrap { gap: .4rem; }

.note { font-size: .875rem; color: var(--body-text-color-subdued); margin: .2rem 0; }

table.regions, table.regions thead, table.regions tr { border: 0 !important; }
table.regions { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
table.regions th, table.regions td {
  padding: .35rem .5rem; text-align: left; font-size: .9rem; white-space: nowrap;
  border: 0; border-bottom: 1px solid var(--border-color-primary); background: none;
}
table.regions tbody tr { cursor: pointer; }
table.regions tbody tr:hover { background: var(--background-fill-secondary); }
table.regions button {
  min-width: 3.2rem; padding: .2rem .6rem; border-radius: .4rem; font-weight: 600;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
table.regions button:focus-visible { outline: 2px solid var(--color-accent); }
.scroll { overflow-x: auto; }
table.regions th { font-weight: 500; color: var(--body-text-color-subdued); }
"""
)

# Gradio leaves pictures without a word for those who cannot see them; the label of their frame is one. Those
# of a slider are named on either side of its bar.
NAME_PICTURES = """() => {
    const name = (block) => {
        const label = block.querySelector("[data-testid='block-label']");
        const names = label ? label.textContent.trim().split(" | ") : [];
        block.querySelectorAll("img:not([alt]), img[alt='']").forEach((picture, i) => {
            picture.alt = names[i % names.length] || "Picture";
        });
    };
    const nameAll = () => document.querySelectorAll(".block").forEach(name);
    new MutationObserver(nameAll).observe(document.body, {childList: true, subtree: true});
    nameAll();
}"""

# The same page whether `app.py` or `diffusionad serve` opens it.
LAUNCH_OPTIONS = {
    "theme": THEME,
    "css": CSS + theme_batch.CSS,
    "js": NAME_PICTURES,
    "mcp_server": offers_tools(),
    "max_file_size": f"{MAX_FILE_MB}mb",
    "ssr_mode": False,
    "run_history": False,
    "footer_links": ["api", "settings"],
}
