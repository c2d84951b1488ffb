"""card.json as a page that people read."""

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
    return "\n".join(
        [
            *_introduction(card),
            *_networks(card),
            *_gates(card),
            *_summary(card),
            *_attributes(card),
            *_limits(),
        ]
    )


def _introduction(card: dict) -> list[str]:
    return [
        "# Model card: the portraits world",
        "",
        "Written by `python -m pretrain.gates`; the same numbers are in `card.json`. All networks take or"
        f" give portraits of {card['size']} x {card['size']} px. They were trained on drawn portraits alone:"
        " no photograph, no real person, no third-party weights. They carry the project's licence.",
        "",
        "64 px is what two cores could train; 128 px is the recipe's other size (`world: size` in"
        " pretrain/params.yaml), not trained yet.",
        "",
    ]


def _networks(card: dict) -> list[str]:
    lines = [
        "## Networks",
        "",
        "| file | role | layout | portraits it was trained on | steps x batch | MB |",
        "|---|---|---|---|---|---|",
    ]
    for name, role in ROLES.items():
        facts = card["networks"].get(name)
        if facts is None:
            continue
        shape = ", ".join(
            f"{key} {value}" for key, value in facts["arguments"].items() if not isinstance(value, dict)
        )
        data, recipe = facts.get("portraits"), facts.get("recipe")
        seen = f"{data['n']:,} {data['mode']}, seed {data['seed']}" if data else _pairs(facts)
        steps, batch = (recipe[k] for k in ("steps", "batch")) if recipe else _steps(facts)
        work = f"{steps:,} x {batch}"
        size = f"{facts['bytes'] / 1e6:.1f}"
        lines.append(f"| {name} | {role} | {facts['network']} ({shape}) | {seen} | {work} | {size} |")
    total = sum(facts["bytes"] for facts in card["networks"].values())
    lines += [
        "",
        f"Together {total / 1e6:.1f} MB (matrices in fp16). *natural*: attributes co-occur as counted in"
        " CelebA; *independent*: they do not, so a judge cannot take one for another. Judges learn strengths"
        " (soft labels) where pixels show them, R hard labels everywhere. All see slightly blurred and noisy"
        " copies, so that they also read a generator's softer pictures; the landmark judge sees them shifted"
        " a little as well. No two sets share a seed.",
        "",
    ]
    if card["networks"].get("generator", {}).get("phase") == "paired":
        lines += [
            "This G is of the paired phase alone. `dvc repro pretrain/dvc.yaml` trains one from the start,"
            " against D as well: another set than this one, not yet measured.",
            "",
        ]
    for name in ROLES:
        if note := card["networks"].get(name, {}).get("note"):
            lines += [f"{name}: {note}", ""]
    return lines


def _pairs(facts: dict) -> str:
    """What G or D was trained on in its last phase."""
    return f"{facts['pairs']:,} pairs of z and portrait, {facts['phase']} phase, {facts['minutes']:g} minutes"


def _steps(facts: dict) -> tuple[int, int]:
    """Steps and batch of the last phase of G or D."""
    return facts["steps"], facts["images_seen"] // facts["steps"]


def _gates(card: dict) -> list[str]:
    lines = ["## Gates", "", "| requirement | reached | limit | |", "|---|---|---|---|"]
    for row in card["gates"]:
        sign, passed = "<=" if row["below"] else ">=", "yes" if row["passed"] else "**no**"
        lines.append(f"| {row['gate']} | {row['value']:.4f} | {sign} {row['limit']} | {passed} |")
    n = card["renders"]["natural"]["n"]
    lines += [
        "",
        f"{n:,} held-out portraits of each kind; G(z) is read for the latents of the natural ones.",
        "",
    ]
    return lines


def _columns(card: dict) -> dict[str, dict]:
    columns = {"independent": card["renders"]["independent"], "natural": card["renders"]["natural"]}
    return columns | ({"G(z)": card["generated"]} if "generated" in card else {})


def _summary(card: dict) -> list[str]:
    columns = _columns(card)
    rows = {
        "attribute AUC, mean of 40": lambda s: f"{s['judge_attributes']['mean']:.4f}",
        "attribute AUC, worst": lambda s: f"{s['judge_attributes']['worst']:.4f}",
        "tuning judge's AUC, mean": lambda s: f"{s['judge_attributes_tuning']['mean']:.4f}",
        "R's AUC, mean": lambda s: f"{s['regressor']['mean']:.4f}",
        "landmark error, px at 128": lambda s: f"{s['landmarks']['mean']:.3f}",
        "95 % of portraits are below": lambda s: f"{s['landmarks']['p95']:.3f}",
        **{
            f"landmarks, {region}": lambda s, region=region: f"{s['landmarks']['regions'][region]:.3f}"
            for region in REGIONS
        },
        "balanced emotion accuracy": lambda s: f"{s['emotion']['balanced_accuracy']:.3f}",
        **{f"recall of {e}": lambda s, e=e: f"{s['emotion']['recall'][e]:.3f}" for e in EMOTIONS},
        "distance to the true emotions, points": lambda s: f"{s['emotion']['distance']:.2f}",
        "identity, mean R2 of 16 parameters": lambda s: (
            f"{sum(s['identity'].values()) / len(s['identity']):.3f}"
        ),
        "pixels against the render, grey levels": lambda s: f"{s['pixels']:.2f}",
    }
    lines = ["## What the judges read", "", f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [
        f"| {name} | {' | '.join(show(scores) for scores in columns.values())} |"
        for name, show in rows.items()
    ]
    same = card["identity_verification_auc"]
    return [
        *lines,
        "",
        f"Same or another person, everything else redrawn: AUC {same:.3f} of the identity judge's cosine.",
        "",
    ]


def _attributes(card: dict) -> list[str]:
    columns = _columns(card)
    lines = [
        "## Attributes: AUC where the label is visible",
        "",
        f"| attribute | {' | '.join(columns)} | R, natural |",
        "|---|" + "---|" * (len(columns) + 1),
    ]
    for name in ATTRIBUTES:
        cells = [scores["judge_attributes"]["each"][name] for scores in columns.values()]
        cells.append(card["renders"]["natural"]["regressor"]["each"][name])
        lines.append(f"| {name} | {' | '.join(f'{cell:.3f}' for cell in cells)} |")
    return [*lines, ""]


def _limits() -> list[str]:
    return [
        "## Limits",
        "",
        "The portraits are drawings with CelebA's *statistics* of labels, including its biases (such as"
        " makeup going with `Attractive`, gray hair with `Male`). Nothing here recognises or describes real"
        " people, and none of these numbers transfers to photographs.",
        "",
    ]
