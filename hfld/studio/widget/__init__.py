"""The controls of the latent editor in Jupyter."""
