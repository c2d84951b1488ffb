"""The drawn world: portraits whose latent is their parameters, so that exact counterfactuals are known."""
