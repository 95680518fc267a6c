"""A scene to pixels: light, backdrop, OpenGL and the camera."""
