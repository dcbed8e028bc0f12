"""One module per layout: `NAME`, `categories(root)` (empty for another layout), `read(root, category)`."""

from . import dagm, folder, kolektor, magnetic_tile, mvtec, visa

READERS = (visa, dagm, magnetic_tile, kolektor, mvtec, folder)  # the first one with categories reads
