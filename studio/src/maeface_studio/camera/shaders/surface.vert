#version 330
uniform mat4 view;
in vec3 position;
in vec3 normal;
in vec2 uv;
in vec3 lamps;
in vec3 sky;
out vec3 at;
out vec3 across;
out vec2 texel;
out vec3 reached;
out vec3 around;
void main() {
    at = position;
    across = normal;
    texel = uv;
    reached = lamps;
    around = sky;
    gl_Position = view * vec4(position, 1.0);
}
