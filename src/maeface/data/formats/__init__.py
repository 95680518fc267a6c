"""What readers of several datasets share: tables of whole numbers, listings, clips, photos, FACS codes."""
