"""The studio: labelled faces rendered from a 3D head (rig), by a cast of subjects, in a scene."""
