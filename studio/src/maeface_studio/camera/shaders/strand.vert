#version 330
// One segment of a hair as a ribbon that faces the camera; four corners per instance.
uniform mat4 view;
uniform vec3 eye;
uniform float pixel;             // width of a pixel in cm at unit distance
in vec2 corner;                  // x: 0 start, 1 end; y: -1, 1
in vec3 start;
in vec3 end;
in vec2 radii;
in vec3 dye;
in float along;                  // 0 root, 1 tip
in vec3 moved;
in vec3 normal;
in vec3 lamps;
in vec3 sky;
out vec3 at;
out vec3 tangent;
out vec3 across;
out vec3 reached;
out vec3 around;
out vec3 colour;
out float tip;
void main() {
    vec3 position = mix(start, end, corner.x) + moved;
    vec3 towards = normalize(eye - position);
    tangent = normalize(end - start + vec3(1e-6));
    float least = 0.45 * pixel * length(eye - position);
    float radius = max(mix(radii.x, radii.y, corner.x), least);
    vec3 side = cross(tangent, towards);
    position += normalize(side + vec3(1e-6)) * corner.y * radius;
    at = position;
    across = normal;
    reached = lamps;
    around = sky;
    colour = dye;
    tip = along;
    gl_Position = view * vec4(position, 1.0);
}
