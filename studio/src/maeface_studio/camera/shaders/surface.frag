#version 330
// Skin, eyes, teeth, cloth and objects: lamps with soft shadows, light from all sides, highlights.
uniform vec3 eye;                // the camera
uniform int lamp_count;
uniform vec3 lamp[3];            // direction, unit
uniform vec3 irradiance[3];      // of a surface that faces the lamp
uniform float spread[3];         // half angle of the lamp, rad
uniform sampler2D colours;
uniform sampler2D heights;       // cm
uniform sampler2D gloss;
uniform vec3 tint;               // used instead of `colours` where `painted` is 0
uniform float painted;
uniform float bumpy;             // 1: use `heights`
uniform float glossy;            // 1: use `gloss`
uniform float roughness;
uniform float specular;          // reflectance at normal incidence
uniform vec3 bleed;              // how far light spreads under the surface into the shaded side
uniform float opacity;
in vec3 at;
in vec3 across;
in vec2 texel;
in vec3 reached;
in vec3 around;
out vec4 light_out;

vec3 bumped(vec3 n, out float height) {
    // Mikkelsen, "Bump mapping unparametrized surfaces on the GPU" (2010)
    vec2 du = dFdx(texel), dv = dFdy(texel);
    height = texture(heights, texel).r;
    float right = texture(heights, texel + du).r - height;
    float up = texture(heights, texel + dv).r - height;
    vec3 dx = dFdx(at), dy = dFdy(at);
    vec3 first = cross(dy, n), second = cross(n, dx);
    float size = dot(dx, first);
    vec3 slope = sign(size) * (right * first + up * second);
    vec3 tilted = abs(size) * n - slope;
    return dot(tilted, tilted) > 1e-20 ? normalize(tilted) : n;
}

float highlight(vec3 n, vec3 towards, vec3 l, float rough) {
    vec3 h = normalize(l + towards);
    float a2 = rough * rough * rough * rough;
    float nh = max(dot(n, h), 0.0), d = nh * nh * (a2 - 1.0) + 1.0;
    float nl = max(dot(n, l), 0.0), nv = max(dot(n, towards), 0.15), k = rough * rough / 2.0;
    float shade = 1.0 / ((nl * (1.0 - k) + k) * (nv * (1.0 - k) + k));
    return nl * a2 / (d * d) * shade * 0.25;   // times pi, because lamps are given as irradiance
}

void main() {
    vec3 towards = normalize(eye - at);
    vec3 n = dot(across, across) > 1e-12 ? normalize(across) : towards;
    if (dot(n, towards) < 0.0 && !gl_FrontFacing) n = -n;
    vec3 fine = n;
    float height = 0.0;
    if (bumpy > 0.5) fine = bumped(n, height);
    vec3 base = painted > 0.5 ? pow(texture(colours, texel).rgb, vec3(2.2)) : tint;
    float wet = glossy > 0.5 ? texture(gloss, texel).r * 2.0 : 1.0;
    vec3 diffuse = around * (1.0 + 0.6 * dot(fine - n, vec3(0.0, 1.0, 0.3)));
    vec3 shine = vec3(0.0);
    float fresnel = specular + (1.0 - specular) * pow(1.0 - max(dot(fine, towards), 0.0), 5.0)
        * (1.0 - roughness) * (1.0 - roughness);
    for (int i = 0; i < lamp_count; ++i) {
        vec3 cosine = vec3(dot(mix(n, fine, 0.55), lamp[i]), dot(mix(n, fine, 0.85), lamp[i]), dot(fine, lamp[i]));
        vec3 soft = max((cosine + bleed) / (1.0 + bleed), 0.0);
        diffuse += irradiance[i] * reached[i] * soft * soft * (1.5 - 0.5 * soft);
        float rough = sqrt(roughness * roughness + 0.35 * spread[i] * spread[i]);
        shine += irradiance[i] * reached[i] * highlight(fine, towards, lamp[i], rough);
    }
    shine += around * 0.5;
    float furrow = clamp(1.0 + 5.0 * height, 0.55, 1.12);       // less light reaches the bottom of a fold
    vec3 colour = base * diffuse * furrow + fresnel * wet * shine;
    light_out = vec4(colour * opacity, opacity);
}
