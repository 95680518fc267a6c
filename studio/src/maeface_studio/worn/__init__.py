"""What a person wears or holds: clothes, glasses, hats, occluders."""
