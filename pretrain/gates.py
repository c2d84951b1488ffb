"""Measure the pre-trained networks on held-out portraits and write the model card.

    python -m pretrain.gates [--generator FILE]

The judges must first pass on true renders; then G(z) is read by them and held against the render of the same
z. Everything is published, whatever is reached: `card.json` beside the networks, and pretrain/MODEL_CARD.md.
"""

import argparse
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import r2_score, recall_score, roc_auc_score
from torch import Tensor, nn
from tqdm.auto import tqdm

from hfld.attributes import ATTRIBUTES, EMOTIONS, REGIONS
from hfld.checkpoints import load_metadata, load_network
from hfld.config import ROOT
from hfld.evaluation.judges import read
from hfld.images import to_tensor, to_uint8
from hfld.models import autocast, reuse_memory
from hfld.portraits.dataset import PortraitSet
from hfld.portraits.parameters import SCORES, decode, sample
from hfld.portraits.render import render
from pretrain.card import ROLES, model_card
from pretrain.judges import IDENTITY
from pretrain.reading import PIXELS, Settings

READERS = [name for name in ROLES if name.startswith("judge_") or name == "regressor"]


def read_images(
    networks: dict[str, nn.Module], data: PortraitSet, *, generator: nn.Module | None = None, name: str
) -> dict[str, np.ndarray]:
    """Outputs of every net for a set, or for G of its latents, and the mean absolute pixel error."""
    parts: dict[str, list[Tensor]] = {key: [] for key in (*networks, "pixels")}
    precision = autocast("auto")
    for start in tqdm(range(0, len(data), 100), desc=name, mininterval=2.0):
        chosen = data[start : start + 100]
        images = true = to_tensor(chosen.images)
        if generator is not None:
            with torch.no_grad(), precision():
                images = generator(torch.from_numpy(np.array(chosen.z)))
            images = to_tensor(to_uint8(images))  # as any picture file would hold them
        for key, network in networks.items():
            exact = key == "judge_landmarks"  # bfloat16 is too coarse for fractions of a pixel
            parts[key].append(read(network, images, nullcontext if exact else precision))
        parts["pixels"].append((images - true).abs().mean(dim=(1, 2, 3)) * 127.5)
    return {key: torch.cat(values).numpy() for key, values in parts.items()}


def measure(readings: dict[str, np.ndarray], data: PortraitSet) -> dict:
    """All scores of one set of readings, plain values."""
    p = data.parameters
    scores: dict = {"n": len(data)}
    for key in ("judge_attributes", "judge_attributes_tuning", "regressor"):
        aucs = attribute_aucs(readings[key], p.labels, p.visible)
        each = dict(zip(ATTRIBUTES, aucs.tolist(), strict=True))
        scores[key] = {"mean": float(np.nanmean(aucs)), "worst": float(np.nanmin(aucs)), "each": each}
    recall = emotion_recalls(readings["judge_emotion"], p.emotions)
    scores["emotion"] = {
        "balanced_accuracy": float(np.nanmean(recall)),
        "recall": dict(zip(EMOTIONS, recall.tolist(), strict=True)),
        "distance": float(0.5 * np.abs(readings["judge_emotion"] - p.emotions).sum(axis=1).mean()),
    }
    errors = landmark_errors(readings["judge_landmarks"].reshape(-1, 106, 2), data.landmarks)
    scores["landmarks"] = {
        "mean": float(errors.mean()),
        "p95": float(np.quantile(errors.mean(axis=1), 0.95)),
        "regions": {name: float(errors[:, list(index)].mean()) for name, index in REGIONS.items()},
    }
    true = p.nuisance[:, : len(IDENTITY)]
    determined = r2_score(true, readings["judge_identity"], multioutput="raw_values")
    scores["identity"] = dict(zip(IDENTITY, determined.tolist(), strict=True))
    scores["pixels"] = float(readings["pixels"].mean())
    return scores


def attribute_aucs(scores: np.ndarray, labels: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """AUC of each attribute where the label is visible; NaN without both classes. [N, 40] thrice -> [40]."""
    shown = [(labels[v, k], scores[v, k]) for k, v in enumerate(visible.T)]
    return np.array([roc_auc_score(*pair) if len(set(pair[0])) == 2 else np.nan for pair in shown])


def emotion_recalls(read: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Recall of each dominant emotion, NaN where none is. [N, 7] twice, any scale -> [7]."""
    found, truth = read.argmax(axis=1), true.argmax(axis=1)
    return recall_score(truth, found, labels=range(true.shape[1]), average=None, zero_division=np.nan)


def landmark_errors(read: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Distance of each landmark in px at 128. [N, 106, 2] twice -> [N, 106]."""
    return np.linalg.norm(read - true, axis=2) * PIXELS


def verification(network: nn.Module, data: PortraitSet, *, pairs: int = 1000) -> float:
    """AUC of the identity judge's cosine: same person, everything else redrawn, against others."""
    pairs = min(pairs, len(data))
    first = len(SCORES)  # identity comes behind the latents that the copula mixes
    z = sample(pairs, seed=2003)
    z[:, first : first + len(IDENTITY)] = data.z[:pairs, first : first + len(IDENTITY)]
    again = read(network, to_tensor(render(decode(z), data.images.shape[1])[0]))
    once = read(network, to_tensor(data.images[:pairs]))
    same = torch.cosine_similarity(once, again).numpy()
    other = torch.cosine_similarity(once, again.roll(1, dims=0)).numpy()
    return float(roc_auc_score(np.arange(2 * pairs) < pairs, np.concatenate([same, other])))


def gates(card: dict) -> list[dict]:
    """Every requirement with what was reached."""
    rows = []

    def add(what: str, value: float, limit: float, *, below: bool = False) -> None:
        passed = bool(value <= limit if below else value >= limit)
        rows.append({"gate": what, "value": value, "limit": limit, "below": below, "passed": passed})

    for name in ("natural", "independent"):
        scores = card["renders"][name]
        aucs, accuracy = scores["judge_attributes"], scores["emotion"]["balanced_accuracy"]
        add(f"attribute AUC on renders ({name}), mean", aucs["mean"], 0.97)
        add(f"attribute AUC on renders ({name}), worst", aucs["worst"], 0.85)
        add(f"balanced emotion accuracy on renders ({name})", accuracy, 0.80)
        add(f"landmark error on renders ({name}), px at 128", scores["landmarks"]["mean"], 0.6, below=True)
    if "generated" in card:
        drawn, made = card["renders"]["natural"], card["generated"]
        before, after = (scores["judge_attributes"]["each"] for scores in (drawn, made))
        lost = [before[name] - after[name] for name in ATTRIBUTES]
        emotion = drawn["emotion"]["balanced_accuracy"] - made["emotion"]["balanced_accuracy"]
        add("landmark error of G(z), px at 128", made["landmarks"]["mean"], 1.0, below=True)
        add("attribute AUC lost from render to G(z), mean", float(np.mean(lost)), 0.03, below=True)
        add("attribute AUC lost from render to G(z), worst", float(np.max(lost)), 0.08, below=True)
        add("balanced emotion accuracy lost from render to G(z)", emotion, 0.05, below=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--params", type=Path, default=ROOT / "pretrain" / "params.yaml")
    parser.add_argument("--generator", type=Path, help="default: the one among the products, if it is there")
    parser.add_argument("--limit", type=int, help="only that many portraits of each set (never a card)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    reuse_memory()
    settings = Settings(options.params)
    out = ROOT / settings.world.out
    path = options.generator or out / "generator.safetensors"
    networks = {name: load_network(out / f"{name}.safetensors") for name in READERS}
    sets = {name: settings.portraits(f"held_{name}")[: options.limit] for name in ("natural", "independent")}
    natural = sets["natural"]

    card: dict = {"world": "portraits", "size": settings.world.size, "trained": True}
    card["renders"] = {
        name: measure(read_images(networks, data, name=f"{name} renders"), data)
        for name, data in sets.items()
    }
    card["identity_verification_auc"] = verification(networks["judge_identity"], natural)
    if path.is_file():
        made = read_images(networks, natural, generator=load_network(path), name="G(z)")
        card["generated"] = measure(made, natural)
    card["gates"] = gates(card)
    files = [out / f"{name}.safetensors" for name in ROLES]
    card["networks"] = {
        file.stem: {"bytes": file.stat().st_size, **load_metadata(file)} for file in files if file.is_file()
    }
    for row in card["gates"]:
        verdict = "pass" if row["passed"] else "FAIL"
        print(f"{verdict}  {row['gate']}: {row['value']:.4f} (limit {row['limit']})")
    if options.limit is None:
        (out / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
        (ROOT / "pretrain" / "MODEL_CARD.md").write_text(model_card(card))


if __name__ == "__main__":
    main()
