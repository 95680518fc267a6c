#version 330
// Hair after Kajiya and Kay (1989), darker towards the roots, where strands shade each other.
uniform vec3 eye;
uniform int lamp_count;
uniform vec3 lamp[3];
uniform vec3 irradiance[3];
uniform float root_shade;        // how much darker at the root
in vec3 at;
in vec3 tangent;
in vec3 across;
in vec3 reached;
in vec3 around;
in vec3 colour;
in float tip;
out vec4 light_out;
void main() {
    vec3 t = normalize(tangent), towards = normalize(eye - at);
    vec3 diffuse = around, shine = vec3(0.0);
    for (int i = 0; i < lamp_count; ++i) {
        float cosine = dot(t, lamp[i]), sine = sqrt(max(1.0 - cosine * cosine, 0.0));
        float facing = clamp(0.55 + 0.6 * dot(across, lamp[i]), 0.0, 1.0);
        float along = dot(t, normalize(lamp[i] + towards));
        diffuse += irradiance[i] * reached[i] * facing * sine * 0.8;
        shine += irradiance[i] * reached[i] * facing * pow(max(1.0 - along * along, 0.0), 30.0);
    }
    float shade = 1.0 - root_shade * (1.0 - tip);
    vec3 light = colour * diffuse * 1.1 + shine * (0.02 + 0.10 * colour);
    light_out = vec4(light * shade, 1.0);
}
