"""Editors with networks of their own, at toy size: enough to learn the toy world in seconds."""

from dataclasses import replace
from functools import cache

from toy_world import toy_models

from hfld.editors import AdaTrans, Bank, SDFlow, StyleFlow, TrainedEditor
from hfld.editors.adatrans import AdaTransConfig
from hfld.editors.flow import SDFlowConfig, StyleFlowConfig

NAMES = ("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive")  # coordinates 0, 1, 2 of w
FLOW = {"attributes": NAMES, "hidden": (24,), "precision": "fp32"}
CONFIGS = {
    StyleFlow: StyleFlowConfig(**FLOW, solver_steps=2, steps=120, lr=2e-2, image_batch=32),
    SDFlow: SDFlowConfig(
        **FLOW, solver_steps=1, steps=160, batch=32, lr=1e-2, encoder_width=4, encoder_stem="small"
    ),
    AdaTrans: AdaTransConfig(
        attributes=NAMES,
        hidden=24,
        blocks=2,
        max_steps=4,
        steps=100,
        image_batch=64,
        lr=1e-2,
        density_steps=60,
        density_layers=2,
        density_width=8,
        weight_classification=5.0,
        precision="fp32",
    ),
}


def toy_bank() -> Bank:
    models = toy_models()
    ws = models.ws(models.latents(512, seed=1, split="train"))
    return Bank(ws=ws, scores=models.score(ws))


def fit(kind: type[TrainedEditor], run_dir=None, **changes) -> TrainedEditor:
    """A new toy editor; `changes` of its config."""
    config = replace(CONFIGS[kind], **changes)
    editor = kind(config, models=toy_models(), run_dir=run_dir, progress=False)
    return editor.fit(toy_bank())


fitted = cache(fit)
"""`fit`, once per test session: do not change what it returns."""
