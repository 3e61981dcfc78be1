/** Invocations that share a row. */
const LANES = ${lanes}u;

var<workgroup> keys: array<u32, INVOCATIONS>;
var<workgroup> places: array<u32, INVOCATIONS>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = (workgroup.x + workgroup.y * groups.x) * (INVOCATIONS / LANES) + local / LANES;
  let width = select(0u, params.width, row < params.rows);
  let start = params.x_base + row * params.width;
  let own = local % LANES;
  var key = MINUS_INF_KEY;
  var place = 0xffffffffu;
  for (var j = 4u * own; j < width; j += 4u * LANES) {
    let found = four_keys(start, j);
    for (var i = 0u; i < 4u; i++) {
      if (found[i] > key) {
        key = found[i];
        place = j + i;
      }
    }
  }
  keys[local] = key;
  places[local] = place;
  workgroupBarrier();
  for (var step = LANES / 2u; step > 0u; step >>= 1u) {
    if (own < step) {
      let other = local + step;
      if (keys[other] > keys[local] || (keys[other] == keys[local] && places[other] < places[local])) {
        keys[local] = keys[other];
        places[local] = places[other];
      }
    }
    workgroupBarrier();
  }
  if (own == 0u && width > 0u) {
    place = places[local];
    if (place == 0xffffffffu) { keep(row, 0u, MINUS_INF, place); } else { keep(row, 0u, load_x(start + place), place); }
  }
}
