"""Files in the official formats, and each format's forward pass, slowly, by its own conventions, in float64.

Nothing here uses hfld: what the loaders and our networks make of these files is held against it.
"""
