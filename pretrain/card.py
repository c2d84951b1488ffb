"""card.json as a page that people read."""

from collections.abc import Iterable, Sequence

from hfld.attributes import ATTRIBUTES, EMOTIONS, REGIONS

ROLES = {
    "generator": "G: z -> portrait",
    "discriminator": "D: the adversarial term",
    "regressor": "R: trains the directions, never scores them",
    "perceptual": "F: the content term, first four convolutions",
    "judge_attributes": "judge of the tables: 40 attributes",
    "judge_attributes_tuning": "judge that tunes strengths, never in a table",
    "judge_emotion": "judge: 7 emotions in percent",
    "judge_landmarks": "judge: 106 landmarks",
    "judge_identity": "judge: 16 identity parameters, compared by cosine",
}


def model_card(card: dict) -> str:
    """The Markdown page."""
    parts = (_introduction(card), _networks(card), _gates(card), _summary(card), _attributes(card), LIMITS)
    return "\n".join(parts)


def _introduction(card: dict) -> str:
    return f"""\
# Model card: the portraits world

Written by `python -m pretrain.gates`; the same numbers are in `card.json`. All networks take or give
portraits of {card["size"]} x {card["size"]} px. They were trained on drawn portraits alone: no photograph,
no real person, no third-party weights. They carry the project's licence.

64 px is what two cores could train; 128 px is the recipe's other size (`world: size` in
pretrain/params.yaml), not trained yet.
"""


def _networks(card: dict) -> str:
    rows = []
    for name, role in ROLES.items():
        if (facts := card["networks"].get(name)) is None:
            continue
        arguments = {key: value for key, value in facts["arguments"].items() if not isinstance(value, dict)}
        layout = f"{facts['network']} ({', '.join(f'{key} {value}' for key, value in arguments.items())})"
        rows.append((name, role, layout, *_training(facts), f"{facts['bytes'] / 1e6:.1f}"))
    total = sum(facts["bytes"] for facts in card["networks"].values())
    heads = ("file", "role", "layout", "portraits it was trained on", "steps x batch", "MB")
    text = f"""\
## Networks

{_table(heads, rows)}

Together {total / 1e6:.1f} MB (matrices in fp16). *natural*: attributes co-occur as counted in CelebA;
*independent*: they do not, so a judge cannot take one for another. Judges learn strengths (soft labels)
where pixels show them, R hard labels everywhere. All see slightly blurred and noisy copies, so that they
also read a generator's softer pictures; the landmark judge sees them shifted a little as well. No two sets
share a seed.
"""
    if card["networks"].get("generator", {}).get("phase") == "paired":
        text += """
This G is of the paired phase alone. `dvc repro pretrain/dvc.yaml` trains one from the start, against D as
well: another set than this one, not yet measured.
"""
    notes = {name: card["networks"].get(name, {}).get("note") for name in ROLES}
    return text + "".join(f"\n{name}: {note}\n" for name, note in notes.items() if note)


def _training(facts: dict) -> tuple[str, str]:
    """What a network saw, and in how many steps; of G and D the last phase."""
    if data := facts.get("portraits"):
        seen, recipe = f"{data['n']:,} {data['mode']}, seed {data['seed']}", facts["recipe"]
        return seen, f"{recipe['steps']:,} x {recipe['batch']}"
    minutes = f"{facts['phase']} phase, {facts['minutes']:g} minutes"
    work = f"{facts['steps']:,} x {facts['images_seen'] // facts['steps']}"
    return f"{facts['pairs']:,} pairs of z and portrait, {minutes}", work


def _gates(card: dict) -> str:
    rows = [
        (
            row["gate"],
            f"{row['value']:.4f}",
            f"{'<=' if row['below'] else '>='} {row['limit']}",
            "yes" if row["passed"] else "**no**",
        )
        for row in card["gates"]
    ]
    return f"""\
## Gates

{_table(("requirement", "reached", "limit", ""), rows)}

{card["renders"]["natural"]["n"]:,} held-out portraits of each kind; G(z) is read for the latents of the
natural ones.
"""


def _columns(card: dict) -> dict[str, dict]:
    columns = {"independent": card["renders"]["independent"], "natural": card["renders"]["natural"]}
    return columns | ({"G(z)": card["generated"]} if "generated" in card else {})


def _summary(card: dict) -> str:
    columns = {name: _readings(scores) for name, scores in _columns(card).items()}
    rows = [(name, *(column[name] for column in columns.values())) for name in columns["natural"]]
    return f"""\
## What the judges read

{_table(("", *columns), rows)}

Same or another person, everything else redrawn: AUC {card["identity_verification_auc"]:.3f} of the identity
judge's cosine.
"""


def _readings(scores: dict) -> dict[str, str]:
    landmarks, emotion, identity = scores["landmarks"], scores["emotion"], scores["identity"]
    return {
        "attribute AUC, mean of 40": f"{scores['judge_attributes']['mean']:.4f}",
        "attribute AUC, worst": f"{scores['judge_attributes']['worst']:.4f}",
        "tuning judge's AUC, mean": f"{scores['judge_attributes_tuning']['mean']:.4f}",
        "R's AUC, mean": f"{scores['regressor']['mean']:.4f}",
        "landmark error, px at 128": f"{landmarks['mean']:.3f}",
        "95 % of portraits are below": f"{landmarks['p95']:.3f}",
        **{f"landmarks, {region}": f"{landmarks['regions'][region]:.3f}" for region in REGIONS},
        "balanced emotion accuracy": f"{emotion['balanced_accuracy']:.3f}",
        **{f"recall of {name}": f"{emotion['recall'][name]:.3f}" for name in EMOTIONS},
        "distance to the true emotions, points": f"{emotion['distance']:.2f}",
        "identity, mean R2 of 16 parameters": f"{sum(identity.values()) / len(identity):.3f}",
        "pixels against the render, grey levels": f"{scores['pixels']:.2f}",
    }


def _attributes(card: dict) -> str:
    columns = {name: scores["judge_attributes"]["each"] for name, scores in _columns(card).items()}
    columns["R, natural"] = card["renders"]["natural"]["regressor"]["each"]
    rows = [(name, *(f"{column[name]:.3f}" for column in columns.values())) for name in ATTRIBUTES]
    return f"""\
## Attributes: AUC where the label is visible

{_table(("attribute", *columns), rows)}
"""


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["|" + "---|" * len(heads), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join([f"| {' | '.join(heads)} |", *lines])


LIMITS = """\
## Limits

The portraits are drawings with CelebA's *statistics* of labels, including its biases (such as makeup going
with `Attractive`, gray hair with `Male`). Nothing here recognises or describes real people, and none of
these numbers transfers to photographs.
"""
