"""The one way from a value to HTML: models, pictures and users bring their own texts."""

from html import escape


def as_text(value: object) -> str:
    """Return a value as text inside HTML or a quoted attribute, never as markup."""
    return escape(str(value), quote=True)
