"""CSS and JavaScript of the page: the files in this folder."""

from importlib.resources import files


def read_static_file(name: str) -> str:
    """Return the text of a CSS or JavaScript file of this folder."""
    return (files(__package__) / name).read_text(encoding="utf-8")
