"""The latent editor without its layout: state and history, edits, recipes, rendering, gauges, exports."""
