var<private> list: u32;

fn score_bits(at: u32) -> u32 {
  return scratch[at];
}

fn keep(slot: u32, key: u32, bits: u32) {
  lists[list + slot] = vec2u(key, bits);
}
${radix_select}

var<workgroup> query_rows: array<array<vec4f, ${rows}>, ${quads}>;

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = params.group * params.queries;
  let key_heads = params.heads / params.group;
  let scratch_start = id.x * ${rows}u * params.row_words;
  let last_key = params.key_length - 1u;
  var job = id.x;
  for (var key_head = 0u; key_head < key_heads; key_head++) {
    let count = slow[key_head];
    let jobs = (count + ${last_row}u) / ${rows}u;
    for (; job < jobs; job += groups.x) {
      // The last job of a head may repeat its last row.
      ${find_rows}
      workgroupBarrier();
      ${load_queries}
      workgroupBarrier();
      ${find_visible}
      let end = ${most_visible};
      for (var key = t; key < end; key += INVOCATIONS) {
        let key_row = key_head * params.key_length + min(key, last_key);
        ${start_products}
        for (var quad = 0u; quad < ${quads}u; quad++) {
          let key_quad = load_key(key_row, quad);
          ${add_products}
        }
        ${store_scores}
      }
      storageBarrier();
      ${select_rows}
      storageBarrier();
    }
    job -= jobs;
  }
}
