"""From an instruction and an image to normalised 2D points, by any of several models."""
