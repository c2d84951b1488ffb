"""The photorealistic world: a generator and its readers, out of ordinary packages."""
