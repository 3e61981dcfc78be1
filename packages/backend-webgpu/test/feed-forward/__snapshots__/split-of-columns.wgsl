enable f16;
struct Params { lines: u32, inner: u32, blocks: u32, words: u32, x_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read> marks: array<u32>;
@group(0) @binding(4) var<storage, read_write> packed: array<f16>;
const INVOCATIONS = 256u;
var<workgroup> block: array<f32, 272>;

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let id = group.x + group.y * groups.x;
  if (id >= params.words / 256u) { return; }
  let line0 = (id / params.blocks) * 16u;
  let inner0 = (id % params.blocks) * 16u;
  let line = line0 + t % 16u;
  let at = inner0 + t / 16u;
  var value = 0.0;
  if (line < params.lines && at < params.inner && marks[1u + line] == 0u) {
    // The inverse of a power of two, exactly.
    let inverse = bitcast<f32>((254u << 23u) - bitcast<u32>(scales[line]));
    value = x[params.x_base + at * params.lines + line] * inverse;
  }
  block[(t % 16u) * 17u + t / 16u] = value;
  workgroupBarrier();
  value = block[(t / 16u) * 17u + t % 16u];
  // Rounded to 11 bits on the bits: a driver was seen to fold value - f32(f16(value)) to zero.
  let hi = bitcast<f32>((bitcast<u32>(value) + 0x1000u) & 0xffffe000u);
  packed[id * 512u + t] = f16(hi);
  packed[id * 512u + 256u + t] = f16(value - hi);
}