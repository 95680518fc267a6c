#version 330
// Orthographic projection of the head along one ray of light.
uniform mat4 ray;
in vec3 position;
void main() { gl_Position = ray * vec4(position, 1.0); }
