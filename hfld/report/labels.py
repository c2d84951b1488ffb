"""What methods are called where people read: one name in figures, tables and the editor."""

LABELS = {
    "baseline": "baseline",
    "hfld": "HFLD",
    "oracle": "oracle edit",
    "random": "random direction",
    "floor": "floor",
    "none": "no edit",
    "baseline_w": "baseline in W",
    "hfld_w": "HFLD in W",
    "ganspace": "GANSpace",
    "interfacegan": "InterFaceGAN",
    "sefa": "SeFa",
    "styleflow": "StyleFlow",
    "sdflow": "SDFlow",
    "adatrans": "AdaTrans",
}
LABELS |= {f"{name}_hfld": f"{LABELS[name]} + HFLD" for name in ("styleflow", "sdflow", "adatrans")}
LABELS |= {f"{name}_lock": f"{label}, locked" for name, label in LABELS.items()}
