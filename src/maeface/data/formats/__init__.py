"""File formats that several AU datasets share: label tables, clips, photos, lists of FACS codes."""
