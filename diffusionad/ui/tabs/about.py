"""The About tab: how it works in four pictures, the metrics of the loaded model, limits, the API."""

import base64
import json
from dataclasses import replace
from io import BytesIO
from typing import Any

import gradio as gr
from PIL import Image

from diffusionad.images.image_io import read_image
from diffusionad.metric_labels import DETECTION, RATES
from diffusionad.ui.components.events import BACKGROUND, Changes
from diffusionad.ui.components.markup import as_text
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.snippets import percent
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.large_pictures import turn_for
from diffusionad.ui.serving.mcp import is_mcp_enabled
from diffusionad.ui.serving.model_registry import Model

STEPS = (
    ("1. A part", "The model has only ever learned from good ones."),
    ("2. Noise", "Enough of it drowns the defect; the part can still be guessed."),
    ("3. One step back", "What the network draws in place of the noise is a good part."),
    ("4. The difference", "A second network compares 1 and 3, and marks what had to be repaired."),
)
FIGURE_SIDE = 320  # pixels

TEXT = """
### Limits

- A part must be seen like the good ones that the model has learned from: same camera, light and framing.
  Another view is called defective.
- What was never good in training is called defective, harmless or not.
- A model sees a picture squeezed to its square, or in tiles of that size: the line under its name says which.
  A defect smaller than one of the pixels that it sees is lost; one larger than a tile is seen only in parts.
- The embedded models have learned from rendered pictures. They show how it works; they know no real part.
- The promise about false alarms holds for parts like those of the calibration, and says nothing
  about how many defects are found.

### Paper and licence

Zhang, Wang, Zeng, Wu and Jiang: *DiffusionAD: Norm-guided One-step Denoising Diffusion for Anomaly
Detection*, [arXiv 2303.08730](https://arxiv.org/abs/2303.08730). This is an independent implementation, under
the MIT licence.

### Use it from a program
"""

ADDRESS = "ADDRESS"
SNIPPET = f"""from gradio_client import Client, handle_file  # pip install gradio_client

client = Client("{ADDRESS}")
verdict, overlay, reconstruction = client.predict(handle_file("part.png"), api_name="/inspect")
print(verdict["verdict"], verdict["score"], verdict["regions"])

pictures = [handle_file("a.png"), handle_file("b.png")]  # or a ZIP
results, csv, overlays = client.predict(pictures, api_name="/batch")
print(client.predict(api_name="/models"))"""
TOOLS_NOTE = f"\n\n# The same as tools for language models (MCP): {ADDRESS}gradio_api/mcp/"


def build_about(page: Page) -> None:
    """Add the tab to a page being built."""
    AboutTab(page)


class AboutTab:
    """Layout and events.

    Args:
        page: around the tab.
    """

    def __init__(self, page: Page):
        self.page = page
        self.is_open = gr.State(False)
        gr.Markdown("### How it works")
        self.steps = gr.HTML(elem_id="about-steps")
        self.figures = gr.HTML(elem_id="about-figures")
        gr.Markdown(TEXT)
        snippet = SNIPPET + (TOOLS_NOTE if is_mcp_enabled() else "")
        self.snippet = gr.Code(
            snippet,
            language=None,
            interactive=False,
            wrap_lines=True,
            label="Python",
            elem_id="about-snippet",
        )
        shown = [self.is_open, self.steps, self.figures]
        # Only while the tab is open: the pictures take a run of the model.
        page.tabs.select(self.open, page.session, shown, **BACKGROUND)
        page.session.change(self.show_model, [page.session, self.is_open], shown, **BACKGROUND)
        address = f"() => {json.dumps(snippet)}.replaceAll('{ADDRESS}', location.origin + location.pathname)"
        page.app.load(None, None, self.snippet, js=address, **BACKGROUND)

    def open(self, event: gr.SelectData, session: Session) -> Changes:
        """Show the model if the chosen tab is this one."""
        is_open = event.value == "About"
        return self.show_model(session, is_open)

    def show_model(self, session: Session, is_open: bool) -> Changes:
        """Show steps and metrics of the user's model, while the tab is open."""
        if not is_open:
            return {self.is_open: False}
        model = self.page.model(session)
        with user_errors():
            return {self.is_open: True, self.steps: steps(model), self.figures: figures(model.metrics())}


def steps(model: Model) -> str:
    """Return the four pictures of the method as HTML, made by the model from its first example."""
    examples = model.examples()
    if not examples:
        return '<p class="note">This model has brought no example picture.</p>'
    with turn_for(examples[0]):
        inspection = inspect_picture(model, str(examples[0]), max_side=FIGURE_SIDE)
        picture = read_image(examples[0], bit_depth=inspection.bit_depth)
        explained = model.explain(picture, inspection.seed, {}, inspection.peak())
    [noised] = [image for image, caption in explained if caption.startswith("2.")]
    drawn = replace(inspection, regions=()).draw()  # without numbers
    pictures = [inspection.picture, noised, inspection.reconstruction, drawn]
    return f'<div class="steps">{"".join(map(_figure, pictures, STEPS))}</div>'


def _figure(picture: Image.Image, step: tuple[str, str]) -> str:
    title, text = step
    jpeg = BytesIO()
    picture.convert("RGB").save(jpeg, "JPEG", quality=88)
    source = f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
    return (
        f'<figure><img src="{source}" alt="{as_text(title)}">'
        f"<figcaption><strong>{as_text(title)}</strong> {as_text(text)}</figcaption></figure>"
    )


def figures(metrics: dict[str, Any]) -> str:
    """Return the metrics of metrics.json with their intervals as HTML."""
    rows = [
        _metric(label.spelled_out_heading, metrics[name])
        for name, label in DETECTION.items()
        if _has_value(metrics.get(name))
    ]
    rows += [
        f'<tr><th scope="row">{label.spelled_out_heading}</th><td>{percent(metrics[name])}</td><td></td></tr>'
        for name, label in RATES.items()
        if isinstance(metrics.get(name), int | float)
    ]
    if not rows:
        return '<h3>How well this model does</h3><p class="note">Nobody has written down its figures.</p>'
    tested = ""
    if "n_good" in metrics and "n_defective" in metrics:
        tested = (
            f" on {as_text(metrics['n_good'])} good and {as_text(metrics['n_defective'])} defective pictures"
        )
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("", "Value", "95 % interval"))
    return (
        f'<h3>How well this model does{tested}</h3><table class="facts">'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
        f"{_per_defect(metrics.get('per_defect', {}))}{_missed(metrics.get('certificate'))}"
    )


def _has_value(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("value"), int | float)


def _metric(label: str, entry: dict[str, Any]) -> str:
    low, high = entry.get("interval") or (None, None)
    interval = "" if low is None else f"{low:.3f} to {high:.3f}"
    return f'<tr><th scope="row">{label}</th><td>{entry["value"]:.3f}</td><td>{interval}</td></tr>'


def _per_defect(defects: dict[str, dict[str, Any]]) -> str:
    has_residue = any("defect_residue" in defect for defect in defects.values())
    rows = "".join(
        f'<tr><th scope="row">{as_text(name.replace("_", " "))}</th><td>{as_text(defect["n"])}</td>'
        f"<td>{percent(defect['detection_rate'])}</td>"
        f"{f'<td>{_residue(defect)}</td>' if has_residue else ''}</tr>"
        for name, defect in defects.items()
        if "detection_rate" in defect and "n" in defect
    )
    if not rows:
        return ""
    titles = ["Defect", "Pictures", "Found", *(["Left after repair"] if has_residue else [])]
    heads = "".join(f'<th scope="col">{head}</th>' for head in titles)
    return f'<table class="facts"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _missed(certificate: dict[str, Any] | None) -> str:
    """Return the sentences of a certificate as HTML."""
    if certificate is None:
        return ""
    items = "".join(f"<li>{as_text(sentence)}</li>" for sentence in certificate["sentences"])
    caveat = as_text(certificate["caveat"])
    return f'<h3>What it misses</h3><ul>{items}</ul><p class="note">{caveat}</p>'


def _residue(defect: dict[str, Any]) -> str:
    return percent(defect["defect_residue"]) if "defect_residue" in defect else ""
