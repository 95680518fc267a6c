"""Files to frames, frames to faces, faces to crops."""
