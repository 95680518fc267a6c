#version 330
// Per vertex: the fraction of each lamp's light that reaches it, and the irradiance from all sides.
const int RAYS = 32;
uniform sampler2D depths;        // one tile per ray
uniform int rays;
uniform int columns;             // tiles in a row of `depths`
uniform int tile;                // texels of a side of a tile
uniform mat4 projection[RAYS];   // from the head to the square of a ray, -1..1
uniform vec3 direction[RAYS];    // to the light, unit
uniform vec4 light[RAYS];        // rgb: the sky's radiance x solid angle / pi; a: lamp 0..2, or -1 for the sky
uniform float weight[RAYS];      // among the rays of its lamp
uniform float bias;
in vec3 position;
in vec3 normal;
out vec3 lamps;
out vec3 sky;

float reaches(int i) {
    vec3 at = (projection[i] * vec4(position + 0.10 * normal, 1.0)).xyz * 0.5 + 0.5;
    vec2 texel = at.xy * float(tile) - 0.5;
    ivec2 corner = ivec2(i % columns, i / columns) * tile;
    ivec2 low = ivec2(floor(texel));
    vec2 part = texel - vec2(low);
    float lit[4];
    for (int k = 0; k < 4; ++k) {
        ivec2 texel_index = clamp(low + ivec2(k & 1, k >> 1), ivec2(0), ivec2(tile - 1));
        float depth = texelFetch(depths, corner + texel_index, 0).r;
        lit[k] = clamp(1.0 - (at.z - bias - depth) / bias, 0.0, 1.0);
    }
    return mix(mix(lit[0], lit[1], part.x), mix(lit[2], lit[3], part.x), part.y);
}

void main() {
    lamps = vec3(0.0);
    sky = vec3(0.0);
    for (int i = 0; i < rays; ++i) {
        float facing = dot(normal, direction[i]);
        float lit = reaches(i);
        int lamp = int(light[i].a);
        if (lamp < 0) sky += light[i].rgb * max(facing, 0.0) * lit;
        // a surface that faces away from the lamp is dark by the cosine, so shadows are faded out there
        else lamps[lamp] += weight[i] * mix(1.0, lit, smoothstep(-0.25, 0.15, facing));
    }
}
