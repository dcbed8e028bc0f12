"""One module per layout of files: `NAME`; `categories(root)`, empty where a folder is not its; `read`."""

from . import dagm, folder, kolektor, magnetic_tile, mvtec, visa

READERS = (visa, dagm, magnetic_tile, kolektor, mvtec, folder)  # the first that sees something reads
