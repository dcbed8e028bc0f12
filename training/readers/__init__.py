"""One module per layout of files: `NAME`; `categories(root)`, empty where a folder is not its; `read`."""

from training.readers import folder, mvtec

READERS = (mvtec, folder)
