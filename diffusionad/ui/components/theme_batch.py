"""How tables of many pictures, histograms and the steps of the method look."""

CSS = """
/* The word fits its column, however narrow. */
.verdict { container-type: inline-size; }
.verdict:not(.waiting) .word { font-size: clamp(1.5rem, 11cqi, 3.6rem); }

.pill {
  display: inline-block; padding: .05rem .55rem; border-radius: 1rem; font-size: .85rem; font-weight: 600;
  white-space: nowrap; color: var(--on-verdict);
}
.pill.good { background: var(--good); }
.pill.anomalous { background: var(--anomalous); }
.pill.error { background: none; color: var(--body-text-color); box-shadow: inset 0 0 0 1px currentColor; }
.counts { display: flex; flex-wrap: wrap; gap: .4rem 1.4rem; align-items: baseline; }
.counts strong { font-size: 1.7rem; font-weight: 700; font-variant-numeric: tabular-nums; }
.headline { font-size: 1.25rem; }
.headline strong { font-variant-numeric: tabular-nums; }
.in-use { border-left: 4px solid var(--good); padding: .3rem .8rem; }

.many {
  max-height: 640px; overflow: auto; border: 1px solid var(--border-color-primary); border-radius: 8px;
}
.many table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0; }
.many table, .many thead, .many tr, .many th, .many td { border: 0 !important; }
.many th {
  position: sticky; top: 0; z-index: 1; background: var(--background-fill-primary); text-align: left;
  padding: 0 !important; box-shadow: inset 0 -1px var(--border-color-primary);
}
.many th button {
  width: 100%; padding: .55rem .6rem; text-align: left; white-space: nowrap;
  font-weight: 500; font-size: .875rem;
}
.many th[aria-sort] button { font-weight: 700; }
.many th[aria-sort="ascending"] button::after { content: " ↑"; }
.many th[aria-sort="descending"] button::after { content: " ↓"; }
.many td {
  padding: .3rem .6rem !important; font-size: .9rem; overflow-wrap: anywhere;
  box-shadow: inset 0 -1px var(--border-color-primary);
}
.many td:nth-child(n+3) { white-space: nowrap; }
.many button { background: none; border: 0; color: inherit; cursor: pointer; }
.many tr[data-row] { cursor: pointer; }
.many tr[data-row]:hover td { background: var(--background-fill-secondary); }
.many img { width: 60px; height: 60px; object-fit: cover; border-radius: 4px; margin: 0; max-width: none; }
.many .open {
  padding: 0; text-align: left; text-decoration: underline; text-underline-offset: 3px; font: inherit;
}
.many .open:focus-visible, .many th button:focus-visible { outline: 2px solid var(--primary-500); }
.many td:nth-child(2) { min-width: 8rem; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }

.histogram { width: 100%; height: auto; display: block; overflow: visible; }
.histogram text { font-size: 12px; fill: var(--body-text-color-subdued); }
.histogram .axis { stroke: var(--border-color-primary); }
.histogram rect.good { fill: var(--good); }
.histogram rect.anomalous { fill: var(--anomalous); }
.histogram line.threshold { stroke: var(--body-text-color); stroke-width: 2; }
.histogram line.other { stroke-width: 1; stroke-dasharray: 4 3; }
.histogram text.in-force { fill: var(--body-text-color); font-weight: 600; }

table.facts, table.facts thead, table.facts tr { border: 0 !important; }
table.facts {
  width: 100%; max-width: 44rem; border-collapse: collapse; margin: .5rem 0;
  font-variant-numeric: tabular-nums;
}
table.facts th, table.facts td {
  padding: .35rem .5rem; text-align: left; font-size: .9rem; font-weight: 400;
  border: 0; border-bottom: 1px solid var(--border-color-primary); background: none;
}
table.facts td { white-space: nowrap; }
table.facts th { color: var(--body-text-color-subdued); }

.steps { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 1rem; }
.steps figure { margin: 0; }
.steps img { width: 100%; border-radius: 8px; margin: 0; display: block; }
.steps figcaption { font-size: .9rem; line-height: 1.4; padding: .4rem .1rem; }
.steps figcaption strong { display: block; }

#good-parts .grid-wrap { min-height: 0; max-height: none; padding-top: 2.4rem; }
#good-parts .grid-container {
  padding-top: 0; grid-template-columns: repeat(4, minmax(0, 1fr)) !important;
  grid-template-rows: none !important; grid-auto-rows: auto !important;
}
#good-parts .thumbnail-item { aspect-ratio: 1; height: auto; width: 100%; }

/* Gradio's own colours here are too faint to read. */
.download-link, button[aria-label="Click to upload or drop files"],
#about-snippet .cm-gutters, #about-snippet .cm-line { color: var(--body-text-color) !important; }

/* As wide as the window allows, whatever the tab holds. */
.gradio-container { width: 100%; }

@media (max-width: 640px) {
  .many td { padding: .3rem .35rem !important; }
  .many th button { padding: .5rem .35rem; }
  .many img { width: 44px; height: 44px; }
  .many th:nth-child(n+5), .many td:nth-child(n+5) { display: none; }
  .many td:nth-child(2) { min-width: 5rem; }
  .pill { padding-inline: .45rem; font-size: .8rem; }
  .histogram { margin-top: .5rem; }
  .histogram text { font-size: 20px; }
}
"""
