"""The English words of our nodes, as the page looks them up: `locales/en/nodeDefs.json`.

    python tests/workflows/words.py [--check]

writes it from `object_info.json` beside this file, and names every text that is new, gone or changed, which the other
languages, translated by hand, have to follow; `--check` writes nothing and names the file if it is not as it would be
written. Inputs and outputs are called by their ids, as the help pages and workflows call them. A tooltip of several
lines is left out: the node makes it where it runs, a line for each file that is there, and one written down here would
hide it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FILE = ROOT / "locales" / "en" / "nodeDefs.json"


def described(name: str, tooltip: str | None) -> dict[str, str]:
    return {"name": name} | ({"tooltip": tooltip} if tooltip and "\n" not in tooltip else {})


def words(node: dict[str, Any]) -> dict[str, Any]:
    parts = {**node["input"].get("required", {}), **node["input"].get("optional", {})}
    outputs = zip(node["output_name"], node["output_tooltips"], strict=True)
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {name: described(name, more[0].get("tooltip")) for name, (_, *more) in parts.items()},
        "outputs": {str(place): described(name, tooltip) for place, (name, tooltip) in enumerate(outputs)},
    }


def texts(tree: dict[str, Any], path: str = "") -> set[tuple[str, str]]:
    """Every text with where it is."""
    found: set[tuple[str, str]] = set()
    for key, value in tree.items():
        place = f"{path} {key}".strip()
        found |= texts(value, place) if isinstance(value, dict) else {(place, value)}
    return found


def main(arguments: list[str]) -> int:
    info = json.loads(Path(__file__).with_name("object_info.json").read_text("utf-8"))
    made = {name: words(node) for name, node in info.items() if name.startswith("CSCS_")}
    text = json.dumps(made, indent=2) + "\n"
    before = FILE.read_text("utf-8") if FILE.is_file() else "{}"
    if "--check" in arguments:
        sys.stderr.write(f"{FILE.relative_to(ROOT)}\n" if before != text else "")
        return int(before != text)
    changed = {place for place, _ in texts(json.loads(before)) ^ texts(made)}
    sys.stderr.write("".join(f"{place}\n" for place in sorted(changed)))
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
