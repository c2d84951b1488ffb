"""The words of figures, tables and the editor: methods, quantities, the two ends of an attribute."""

METHODS = {
    "baseline": ("baseline", "#D55E00"),
    "hfld": ("HFLD", "#0072B2"),
    "oracle": ("oracle edit", "#009E73"),
    "random": ("random direction", "#CC79A7"),
    "floor": ("floor", "#666666"),
    "none": ("no edit", "#999999"),
    "baseline_w": ("baseline in W", "#E69F00"),
    "hfld_w": ("HFLD in W", "#56B4E9"),
    "ganspace": ("GANSpace", "#882255"),
    "interfacegan": ("InterFaceGAN", "#117733"),
    "sefa": ("SeFa", "#AA7700"),
    "styleflow": ("StyleFlow", "#6633AA"),
    "sdflow": ("SDFlow", "#222222"),
    "adatrans": ("AdaTrans", "#33AACC"),
}
"""Name and colour: Okabe and Ito's palette, told apart by everybody, and further ones."""
LABELS = {method: label for method, (label, _) in METHODS.items()}
LABELS |= {f"{name}_hfld": f"{LABELS[name]} + HFLD" for name in ("styleflow", "sdflow", "adatrans")}
LABELS |= {f"{name}_lock": f"{label}, locked" for name, label in LABELS.items()}
LABELS |= {"difference": "HFLD − baseline"}
COLOURS = {method: colour for method, (_, colour) in METHODS.items()}

CONTROLS = ("random", "none", "oracle", "floor")
DEFINITIONS = (
    "*No edit*: the original twice. *Random direction*: as long as the baseline's. *Oracle edit*: what the "
    "generator draws at the exact counterfactual, the same latent with only that attribute changed. *Floor*: "
    "what the renderer draws there, hence what the judges read into a perfect edit. Both are never scaled."
)
"""What the controls of every table are."""

QUANTITIES = {
    "target_change": "target change",
    "success": "share that crosses .5",
    "preservation": "other labels kept",
    "other_attributes": "other attributes",
    "landmark_drift_px": "landmark drift, px",
    "landmark_nme": "landmark NME, %",
    "emotion_tvd": "emotion change, percentage points",
    "label_keep": "emotion label kept",
    "identity_cosine": "identity cosine",
    "perceptual_distance": "perceptual distance",
    "latent_log_likelihood": "latent log-likelihood, nats/dim",
    "edit_ms": "time per edit, ms",
    "counterfactual_landmark_px": "landmarks to the exact counterfactual, px",
    "counterfactual_emotion_tvd": "emotions to the exact counterfactual, percentage points",
    "counterfactual_label_keep": "emotion label of the exact counterfactual",
    "counterfactual_attributes": "attributes to the exact counterfactual",
    "counterfactual_pixel": "pixels to the exact counterfactual, grey levels",
}
MORE_IS_BETTER = frozenset(
    ("preservation", "label_keep", "counterfactual_label_keep", "identity_cosine", "latent_log_likelihood")
)

TOWARDS = {
    "5_o_Clock_Shadow": "5 o'clock shadow",
    "Mouth_Slightly_Open": "mouth open",
    "No_Beard": "no beard",
}
AWAY = {
    "Attractive": "not attractive",
    "Bald": "with hair",
    "Blurry": "sharp",
    "Chubby": "not chubby",
    "Male": "female",
    "Mouth_Slightly_Open": "mouth closed",
    "Narrow_Eyes": "wide eyes",
    "No_Beard": "with beard",
    "Pale_Skin": "darker skin",
    "Smiling": "not smiling",
    "Young": "old",
}
"""The end of an attribute that its name does not say; of all others: `no ...`, of hair: `not ...`."""


def plain(name: str) -> str:
    """An attribute as people write it: 'Black Hair'."""
    return name.replace("_", " ")


def end(attribute: str, target: float) -> str:
    """The end of an attribute that a target above or below .5 aims at: 'male', 'female', 'no hat'."""
    name = TOWARDS.get(attribute, plain(attribute).removeprefix("Wearing ").lower())
    if target > 0.5:
        return name
    return AWAY.get(attribute, f"{'not' if attribute.endswith('_Hair') else 'no'} {name}")


def method_name(method: str) -> str:
    """'hfld' -> 'HFLD'; a comparison without a label is its own name."""
    return LABELS.get(method, method)


def quantity_name(quantity: str) -> str:
    """'emotion_tvd' -> 'emotion change, percentage points'; 'ratio:Big_Nose' -> 'Big Nose'."""
    return QUANTITIES.get(quantity) or plain(quantity.rpartition(":")[2])


def heading(name: str) -> str:
    """A method or quantity with a capital in front: 'Floor', 'Landmark drift, px'."""
    text = LABELS.get(name) or quantity_name(name)
    return text[:1].upper() + text[1:]
