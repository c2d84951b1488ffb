"""Print the profiles that a command is for: those that it names, or else the active ones of params.yaml."""

import argparse
import sys
from pathlib import Path

from ruamel.yaml import YAML  # DVC reads params.yaml with it

ROOT = Path(__file__).resolve().parents[1]


def active_profiles(root: Path) -> list[str]:
    """The list `active` of params.yaml."""
    active = YAML(typ="safe").load(root / "params.yaml").get("active")
    if not isinstance(active, list) or not active:
        raise ValueError(f"params.yaml: active is {active!r}, expected a list such as [portraits]")
    return active


def chosen_profiles(names: list[str], root: Path, *, active: bool = False) -> list[str]:
    """`names` or, where there are none, the active profiles; ValueError for one that is not there."""
    runs = active_profiles(root)
    known = sorted(path.stem for path in (root / "profiles").glob("*.yaml"))
    for name in names or runs:
        if name not in known:
            raise ValueError(f"no profile is called {name}; profiles/ has {', '.join(known)}")
        if active and name not in runs:
            raise ValueError(f"{name} is not active: params.yaml has {', '.join(runs)}")
    return names or runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*")
    parser.add_argument("--active", action="store_true", help="the names must be active")
    arguments = parser.parse_args()
    try:
        print(*chosen_profiles(arguments.names, ROOT, active=arguments.active))
    except ValueError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
