"""People's photographs: reading, faces in them, alignment, data sets, official networks."""
