"""Where the repository lies, its app, and the files that some machines have beside it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
APP = ROOT / "app.py"
SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "official_golden"
SCREENSHOTS = ROOT / "build" / "screenshots"

DESKTOP, PHONE = (1280, 900), (390, 844)
