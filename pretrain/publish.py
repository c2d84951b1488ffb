"""Copy the pre-trained networks from pretrain/out/ to data/portraits/, record them in data.dvc, fill store/.

    python -m pretrain.publish

Refuses an incomplete set, and one of more than 30 MB. Commit data.dvc and store/ afterwards.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from hfld.checkpoints import load_network
from hfld.config import ROOT, load_profile
from pretrain.card import ROLES

LIMIT = 30_000_000
FILES = (*(f"{name}.safetensors" for name in ROLES), "card.json")


def check(source: Path) -> int:
    """Total bytes of a complete, loadable set; ValueError says what is wrong with another."""
    missing = [name for name in FILES if not (source / name).is_file()]
    if missing:
        raise ValueError(f"{source} lacks {', '.join(missing)}; run `make pretrain`")
    for name in ROLES:
        load_network(source / f"{name}.safetensors")
    total = sum((source / name).stat().st_size for name in FILES)
    if total > LIMIT:
        raise ValueError(f"{source} holds {total / 1e6:.1f} MB, the limit is {LIMIT / 1e6:.0f} MB")
    return total


def publish(source: Path, target: Path) -> None:
    """Copy, then let DVC record and push exactly these files."""
    total = check(source)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for name in FILES:
        shutil.copyfile(source / name, target / name)
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "commit", "--force", "data.dvc"], cwd=ROOT, check=True)
    shutil.rmtree(ROOT / "store", ignore_errors=True)  # nothing but data/ is in it, and no older version
    subprocess.run([*dvc, "push", "data.dvc"], cwd=ROOT, check=True)
    print(f"{len(FILES)} files, {total / 1e6:.1f} MB in {target}; commit data.dvc and store/")


if __name__ == "__main__":
    publish(ROOT / "pretrain" / "out", load_profile("portraits").paths.world)
