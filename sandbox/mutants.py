"""
Change the pure rooms line by line and see which tests notice: `make mutants MODULES="selection scale_in"`.

Works on a copy under `.cache/mutants`, with the unit tests of the engine alone. What survives is shown
as the line that was and the line that it became; changes of mere words (reasons, events, alerts) are
only counted. A survivor is equivalent, not worth a test, or a test that is missing: look at each.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".cache" / "mutants"
COPIED = ("scaler", "colibri", "compute", "state", "page", "cli", "sandbox", "tests", "docs")
MODULES = ("selection", "scale_in", "process", "passive", "lifecycle", "health", "reflect", "decide")
SLOW = ("test_crash", "test_scenarios", "test_scenarios_faults", "test_nights", "test_tick")
"""Whole worlds: they would notice more, and take days."""
SURVIVED = 0
"""Exit code of the tests that did not notice."""
_TEXT = re.compile(r"""f?"[^"]*"|f?'[^']*'""")
_SAYS = re.compile(r"refuse\(|log\.say|Alert\(|Vote\(|\b(detail|because|figures|text|why|said|seen)\b =")


def main() -> int:
    """Mutate what the command line names; 0 whatever survives, since a person judges it."""
    asked = _arguments()
    _copy(asked.modules)
    tool = str(Path(sys.executable).parent / "mutmut")
    patterns = [f"scaler.{module}.*" for module in asked.modules]
    subprocess.run([tool, "run", "--max-children", str(asked.jobs), *patterns], cwd=PLACE, check=False)
    for module in asked.modules:
        _tell(module, tool, words=asked.words)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Which changed lines of the pure rooms do no tests notice?")
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="of scaler/, without .py")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once")
    parser.add_argument("--words", action="store_true", help="show changes of mere words too")
    return parser.parse_args()


def _copy(modules: Sequence[str]) -> None:
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    for name in COPIED:
        shutil.copytree(ROOT / name, PLACE / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*ROOT.glob("*.py"), ROOT / "pyproject.toml"]:
        shutil.copy(file, PLACE)
    tests = sorted(path for path in (PLACE / "tests/scaler").glob("test_*.py") if path.stem not in SLOW)
    chosen = "".join(f"\n    {path.relative_to(PLACE)}" for path in tests)
    also = "".join(f"\n    {name}" for name in (*COPIED[1:], "pyproject.toml", *_files()))
    only = "".join(f"\n    scaler/{module}.py" for module in modules)
    text = f"[mutmut]\nsource_paths=scaler\nonly_mutate={only}\n"
    text += f"pytest_add_cli_args_test_selection={chosen}\nalso_copy={also}\n"
    (PLACE / "setup.cfg").write_text(text)


def _files() -> list[str]:
    return [path.name for path in ROOT.glob("*.py")]


def _tell(module: str, tool: str, *, words: bool) -> None:
    results = json.loads((PLACE / f"mutants/scaler/{module}.py.meta").read_text())["exit_code_by_key"]
    survivors = [name for name, code in results.items() if code == SURVIVED]
    tried = sum(code is not None for code in results.values())
    shown = [(name, was, became) for name in survivors for was, became in _changes(name, tool)]
    real = [each for each in shown if words or not _is_wording(each[1], each[2])]
    counts = f"{tried} tried, {len(survivors)} survived, {len(survivors) - len(real)} of them mere words"
    print(f"\n{module}: {counts}")
    for name, was, became in real:
        print(f"{name}\n  - {was}\n  + {became}")


def _changes(name: str, tool: str) -> Iterator[tuple[str, str]]:
    told = subprocess.run([tool, "show", name], cwd=PLACE, check=False, capture_output=True, text=True)
    lines = told.stdout.splitlines()
    was = " ".join(line[1:].strip() for line in lines if line.startswith("-") and not line.startswith("---"))
    became = " ".join(
        line[1:].strip() for line in lines if line.startswith("+") and not line.startswith("+++")
    )
    yield was, became


def _is_wording(was: str, became: str) -> bool:
    """Only a text differs, or the line builds nothing but a text."""
    return _TEXT.sub("", was) == _TEXT.sub("", became) or _SAYS.search(was) is not None


if __name__ == "__main__":
    sys.exit(main())
