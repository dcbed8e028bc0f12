"""Pictures that show nothing, such as a dead camera sends: a model finds no defect in them."""

import numpy as np

from diffusionad.images.image_io import ImageError, read_image

# Grey levels of 255 between the darkest and the brightest pixel of a channel. Two are the noise that JPEG and
# rounding leave in a constant picture; the faintest part that a model can learn spreads over far more.
BLANK_LEVELS = 2
_STEP = 16  # between the pixels that are looked at first: nearly every picture differs among these


def is_blank(picture: np.ndarray, bit_depth: int | None = None) -> bool:
    """Return whether all pixels of a picture are the same but for `BLANK_LEVELS` of 255 in each channel.

    Args:
        picture: [H,W,3] in [0, 1].
        bit_depth: of the model. With None the picture may be one of a camera with fewer bits than the file,
            far too dark: then it is blank only if it has no more values than an 8-bit picture would have.
    """
    limit = (BLANK_LEVELS + 0.5) / 255  # half a level, so that rounding of floats decides nothing
    for pixels in (picture[::_STEP, ::_STEP], picture):
        if (pixels.max(axis=(0, 1)) - pixels.min(axis=(0, 1))).max() > limit:
            return False
    channels = picture.transpose(2, 0, 1)  # [3,H,W]
    return bit_depth is not None or max(len(np.unique(c)) for c in channels) <= BLANK_LEVELS + 1


def read_to_inspect(path: str, bit_depth: int | None) -> np.ndarray:
    """Read a picture of a part as `read_image` does; raise an ImageError where it is blank, too."""
    picture = read_image(path, bit_depth=bit_depth)
    check_shows_something(picture, f"`{path}`", bit_depth)
    return picture


def check_shows_something(picture: np.ndarray, name: str, bit_depth: int | None = None) -> None:
    """Raise an ImageError for a picture of a part, as `is_blank` takes it, that is blank.

    Masks and textures may be blank, so reading a picture does not check it.

    Args:
        picture: at its own size.
        name: how to call it in the error.
        bit_depth: of the model.
    """
    if is_blank(picture, bit_depth):
        raise ImageError(
            f"{name} shows nothing: all of its pixels are nearly the same, within {BLANK_LEVELS} of 255 grey "
            "levels; check the camera and the light."
        )
