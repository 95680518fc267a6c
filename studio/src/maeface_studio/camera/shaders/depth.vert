#version 330
// Orthographic view of the head along one ray of light.
uniform mat4 ray;
in vec3 place;
void main() { gl_Position = ray * vec4(place, 1.0); }
