var<workgroup> bits: array<atomic<u32>, ${bit_words}>;
var<workgroup> next: array<atomic<u32>, ${keys}>;
// What to add to a staged place to get that in the sorted list.
var<workgroup> shift: array<u32, ${keys}>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, ${staged_words}>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == ${no_tile}u) { return; }
  let unit = block / params.entry_blocks;
  let place = info[unit * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  let base = block * params.block_entries;
  for (var key = t; key < ${keys}u; key += INVOCATIONS) { atomicStore(&next[key], 0u); }
  for (var number = t; number < ${staged_words}u; number += INVOCATIONS) { atomicStore(&staged[number], 0u); }
  workgroupBarrier();
  for (var i = t; i < entries; i += INVOCATIONS) { atomicAdd(&next[tile_keys[base + i] & ${key_mask}u], 1u); }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < ${each}u; i++) {
    let key = t * ${each}u + i;
    if (key < ${keys}u) { own += atomicLoad(&next[key]); }
  }
  var first_of = scanned(own, t);
  for (var i = 0u; i < ${each}u; i++) {
    let key = t * ${each}u + i;
    if (key < ${keys}u) {
      let count = atomicLoad(&next[key]);
      atomicStore(&next[key], first_of);
      shift[key] = places[block * ${keys}u + key] - first_of;
      first_of += count;
    }
  }
  let word = t / 32u;
  let bit = 1u << (t % 32u);
  // The keys of the next round are on their way while one is put in order.
  var coming = 0u;
  if (t < entries) { coming = tile_keys[base + t] & ${key_mask}u; }
  for (var first = 0u; first < entries; first += INVOCATIONS) {
    for (var at = t; at < ${bit_words}u; at += INVOCATIONS) { atomicStore(&bits[at], 0u); }
    let is_entry = first + t < entries;
    let key = coming;
    let after = first + INVOCATIONS + t;
    if (after < entries) { coming = tile_keys[base + after] & ${key_mask}u; }
    workgroupBarrier();
    if (is_entry) {
      atomicOr(&bits[word * ${keys}u + key], bit);
    }
    workgroupBarrier();
    if (is_entry) {
      var at = atomicLoad(&next[key]) + countOneBits(atomicLoad(&bits[word * ${keys}u + key]) & (bit - 1u));
${add_words_before}
      atomicOr(&staged[at / 2u], (first + t) << (16u * (at % 2u)));
    }
    workgroupBarrier();
    for (var counted = t; counted < ${keys}u; counted += INVOCATIONS) {
      atomicStore(&next[counted], atomicLoad(&next[counted])
        + ${bits_of_words});
    }
    workgroupBarrier();
  }
  for (var i = t; i < entries; i += INVOCATIONS) {
    let number = (atomicLoad(&staged[i / 2u]) >> (16u * (i % 2u))) & 0xffffu;
    let entry = tile_keys[base + number];
    let key = entry & ${key_mask}u;
    let at = shift[key] + i;
    sorted_rows[at] = unit * params.rows_per_unit + (entry >> ${keys_per_tile_log2}u);
    sorted_weights[at] = tile_weights[base + number];
    let in_piece = at % params.piece_entries;
    let marked = unit * params.keys + tile * ${keys}u + key + 1u;
    if (in_piece == 0u) { piece_keys[2u * (at / params.piece_entries)] = marked; }
    if (in_piece == params.piece_entries - 1u) { piece_keys[2u * (at / params.piece_entries) + 1u] = marked; }
  }
}
