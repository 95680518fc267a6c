#version 330
// Per vertex: the share of each lamp that reaches it, and the light from all sides that does.
const int RAYS = 32;
uniform sampler2D depths;        // a tile for each ray
uniform int rays;
uniform int columns;             // tiles in a row of `depths`
uniform int tile;                // texels a side of a tile
uniform mat4 towards[RAYS];      // head to a ray's own square, -1..1
uniform vec3 direction[RAYS];    // to the light, unit
uniform vec4 light[RAYS];        // rgb: the sky's radiance x solid angle / pi; a: lamp 0..2, or -1 for the sky
uniform float share[RAYS];       // of its lamp
uniform float bias;
in vec3 place;
in vec3 normal;
out vec3 lamps;
out vec3 sky;

float reaches(int i) {
    vec3 at = (towards[i] * vec4(place + 0.10 * normal, 1.0)).xyz * 0.5 + 0.5;
    vec2 texel = at.xy * float(tile) - 0.5;
    ivec2 corner = ivec2(i % columns, i / columns) * tile;
    ivec2 low = ivec2(floor(texel));
    vec2 part = texel - vec2(low);
    float seen[4];
    for (int k = 0; k < 4; ++k) {
        ivec2 spot = clamp(low + ivec2(k & 1, k >> 1), ivec2(0), ivec2(tile - 1));
        float depth = texelFetch(depths, corner + spot, 0).r;
        seen[k] = clamp(1.0 - (at.z - bias - depth) / bias, 0.0, 1.0);
    }
    return mix(mix(seen[0], seen[1], part.x), mix(seen[2], seen[3], part.x), part.y);
}

void main() {
    lamps = vec3(0.0);
    sky = vec3(0.0);
    for (int i = 0; i < rays; ++i) {
        float facing = dot(normal, direction[i]);
        float seen = reaches(i);
        int lamp = int(light[i].a);
        if (lamp < 0) sky += light[i].rgb * max(facing, 0.0) * seen;
        // behind the terminator the surface shades itself: that is the cosine's part, not the shadow's
        else lamps[lamp] += share[i] * mix(1.0, seen, smoothstep(-0.25, 0.15, facing));
    }
}
