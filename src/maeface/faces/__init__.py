"""Reading photos and videos, detecting faces in them, and cropping the faces."""
