// attention-backward rows {"headDim":64,"valueDim":64,"layout":{"width":4,"half":false},"dropout":false}
struct Params { rows: u32, rows_per_unit: u32, keys: u32, slots: u32, scale: f32, first_row: u32, query_length: u32, query_heads: u32, threshold: u32, kept_factor: f32, seed: vec2u, key_base: u32, value_base: u32, gradient_base: u32, indices_base: u32, scores_base: u32, result_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> key: array<vec4f>;
@group(0) @binding(2) var<storage, read> value: array<vec4f>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read> indices: array<i32>;
@group(0) @binding(5) var<storage, read> scores: array<u32>;
@group(0) @binding(6) var<storage, read_write> result: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> weights: array<vec2f>;
const INVOCATIONS = 64u;

fn load_key(at: u32) -> vec4f { return key[at]; }
fn load_value(at: u32) -> vec4f { return value[at]; }
fn load_gradient(at: u32) -> vec4f { return gradient[at]; }

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

fn nan() -> f32 { var bits = 0x7fc00000u; return bitcast<f32>(bits); }

const MINUS_INF_BITS = 0xff800000u;
fn is_nan_or_plus_inf(bits: u32) -> bool {
  return bits == 0x7f800000u || (bits & 0x7fffffffu) > 0x7f800000u;
}

// 1 / (1 - rate) or 0, keyed by (seed, batch, head, query, slot); 1 without dropout.
fn dropout_factor(row: u32, slot: u32) -> f32 {
  return 1.0;
}
fn inner(a: vec4f, b: vec4f) -> f32 { return dot(a, b); }

var<workgroup> reduced: array<f32, 64>;

fn sum_of_group(x: f32, t: u32) -> f32 {
  reduced[t] = x; workgroupBarrier();
  if (t < 32u) { reduced[t] = reduced[t] + reduced[t + 32u]; } workgroupBarrier();
  if (t < 16u) { reduced[t] = reduced[t] + reduced[t + 16u]; } workgroupBarrier();
  if (t < 8u) { reduced[t] = reduced[t] + reduced[t + 8u]; } workgroupBarrier();
  if (t < 4u) { reduced[t] = reduced[t] + reduced[t + 4u]; } workgroupBarrier();
  if (t < 2u) { reduced[t] = reduced[t] + reduced[t + 2u]; } workgroupBarrier();
  if (t < 1u) { reduced[t] = reduced[t] + reduced[t + 1u]; } workgroupBarrier();
  let result = reduced[0]; workgroupBarrier();
  return result;
}

fn max_of_group(x: f32, t: u32) -> f32 {
  reduced[t] = x; workgroupBarrier();
  if (t < 32u) { reduced[t] = max(reduced[t], reduced[t + 32u]); } workgroupBarrier();
  if (t < 16u) { reduced[t] = max(reduced[t], reduced[t + 16u]); } workgroupBarrier();
  if (t < 8u) { reduced[t] = max(reduced[t], reduced[t + 8u]); } workgroupBarrier();
  if (t < 4u) { reduced[t] = max(reduced[t], reduced[t + 4u]); } workgroupBarrier();
  if (t < 2u) { reduced[t] = max(reduced[t], reduced[t + 2u]); } workgroupBarrier();
  if (t < 1u) { reduced[t] = max(reduced[t], reduced[t + 1u]); } workgroupBarrier();
  let result = reduced[0]; workgroupBarrier();
  return result;
}
var<workgroup> parts: array<vec4f, INVOCATIONS>;

// dO of the row . V of the key
fn product(row: u32, value_row: u32) -> f32 {
  let gradient_at = params.gradient_base / 4u + row * 16u;
  let value_at = params.value_base / 4u + value_row * 16u;
  var sum = 0.0;
  for (var c = 0u; c < 16u; c++) {
    sum += inner(load_gradient(gradient_at + c), load_value(value_at + c));
  }
  return sum;
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let first_key = (row / params.rows_per_unit) * params.keys;
  let first_slot = row * params.slots;

  var largest = -3.4e38;
  var bad = 0.0;
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    let bits = scores[params.scores_base + first_slot + s];
    if (is_nan_or_plus_inf(bits)) { bad = 1.0; }
    else if (indices[params.indices_base + first_slot + s] >= 0) { largest = max(largest, bitcast<f32>(bits)); }
  }
  largest = max_of_group(largest, t);
  let is_bad = max_of_group(bad, t) > 0.0;

  var total = 0.0;
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    if (indices[params.indices_base + first_slot + s] >= 0) {
      total += exp(bitcast<f32>(scores[params.scores_base + first_slot + s]) - largest);
    }
  }
  total = sum_of_group(total, t);

  var mean = 0.0;
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    let key = indices[params.indices_base + first_slot + s];
    var pair = vec2f(0.0);
    if (key >= 0) {
      let p = exp(bitcast<f32>(scores[params.scores_base + first_slot + s]) - largest) / total;
      pair = vec2f(p, dropout_factor(row, s) * product(row, first_key + u32(key)));
      mean += pair.x * pair.y;
    }
    weights[first_slot + s] = pair;
  }
  mean = sum_of_group(mean, t);
  for (var s = t; s < params.slots; s += INVOCATIONS) {
    let pair = weights[first_slot + s];
    let made = vec2f(pair.x * dropout_factor(row, s), pair.x * (pair.y - mean));
    weights[first_slot + s] = select(made, vec2f(nan()), is_bad);
  }
  storageBarrier();

  let part = t / 16u;
  let key_base = params.key_base / 4u;
  for (var first = 0u; first < 16u; first += 16u) {
    let column = first + t % 16u;
    var sum = vec4f();
    if (column < 16u) {
      for (var s = part; s < params.slots; s += 4u) {
        let key = indices[params.indices_base + first_slot + s];
        if (key >= 0) {
          sum += weights[first_slot + s].y
            * load_key(key_base + (first_key + u32(key)) * 16u + column);
        }
      }
    }
    parts[t] = sum;
    workgroupBarrier();
    if (part == 0u && column < 16u) {
      for (var other = 1u; other < 4u; other++) { sum += parts[other * 16u + t]; }
      result[params.result_base / 4u + row * 16u + column]
        = select(sum * params.scale, vec4f(nan()), is_bad);
    }
    workgroupBarrier();
  }
}

// attention-backward count-tiles {"keysPerTileLog2":7}
struct Params { rows_per_unit: u32, slots: u32, tiles: u32, row_blocks: u32, rows_per_block: u32, blocks: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
const INVOCATIONS = 256u;

var<workgroup> count: array<atomic<u32>, 1024>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  for (var tile = t; tile < params.tiles; tile += INVOCATIONS) { atomicStore(&count[tile], 0u); }
  workgroupBarrier();
  let first = in_unit * params.rows_per_block;
  let end = min(params.rows_per_unit, first + params.rows_per_block);
  let base = params.indices_base + unit * params.rows_per_unit * params.slots;
  for (var entry = first * params.slots + t; entry < end * params.slots; entry += INVOCATIONS) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&count[u32(key) >> 7u], 1u); }
  }
  workgroupBarrier();
  for (var tile = t; tile < params.tiles; tile += INVOCATIONS) {
    counts[(unit * params.tiles + tile) * params.row_blocks + in_unit] = atomicLoad(&count[tile]);
  }
}

// attention-backward scan-blocks
struct Params { row_blocks: u32, tiles: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
@group(0) @binding(2) var<storage, read_write> totals: array<u32>;
const INVOCATIONS = 256u;


fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 256>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 256u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[255]; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let tile = group_index(group, groups);
  if (tile >= params.tiles) { return; }
  var before = 0u;
  for (var first = 0u; first < params.row_blocks; first += INVOCATIONS) {
    let block = first + t;
    let at = tile * params.row_blocks + block;
    var count = 0u;
    if (block < params.row_blocks) { count = counts[at]; }
    let sum = scanned(count, t);
    if (block < params.row_blocks) { counts[at] = before + sum; }
    before += scan_total();
  }
  if (t == 0u) { totals[tile] = before; }
}

// attention-backward place-tiles
struct Params { tiles: u32, block_entries: u32, entry_blocks: u32, entries: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> totals: array<u32>;
@group(0) @binding(2) var<storage, read_write> info: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> block_tiles: array<u32>;
const INVOCATIONS = 256u;

var<workgroup> first_blocks: array<u32, 1024>;

var<workgroup> scan_sums: array<u32, 256>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 256u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[255]; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let unit = group.x;
  let base = unit * params.tiles;
  var blocks_before = 0u;
  var entries_before = unit * params.entries;
  for (var first = 0u; first < params.tiles; first += INVOCATIONS) {
    let tile = first + t;
    var count = 0u;
    if (tile < params.tiles) { count = totals[base + tile]; }
    let blocks = (count + params.block_entries - 1u) / params.block_entries;
    let block = blocks_before + scanned(blocks, t);
    blocks_before += scan_total();
    let entry = entries_before + scanned(count, t);
    entries_before += scan_total();
    if (tile < params.tiles) {
      info[base + tile] = vec4u(block, count, entry, 0u);
      first_blocks[tile] = block;
    }
  }
  workgroupBarrier();
  for (var block = t; block < params.entry_blocks; block += INVOCATIONS) {
    var tile = 4294967295u;
    if (block < blocks_before) {
      // The last tile that begins at or before the block and is not empty.
      var low = 0u;
      var high = params.tiles;
      while (high - low > 1u) {
        let middle = (low + high) / 2u;
        if (first_blocks[middle] <= block) { low = middle; } else { high = middle; }
      }
      tile = low;
    }
    block_tiles[unit * params.entry_blocks + block] = tile;
  }
}

// attention-backward scatter-tiles {"keysPerTileLog2":7,"staging":{"tileCapacity":128,"entries":2048,"invocations":64}}
struct Params { rows_per_unit: u32, slots: u32, tiles: u32, row_blocks: u32, rows_per_block: u32, blocks: u32, block_entries: u32, entry_blocks: u32, indices_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> indices: array<i32>;
@group(0) @binding(2) var<storage, read> weights: array<vec2f>;
@group(0) @binding(3) var<storage, read> counts: array<u32>;
@group(0) @binding(4) var<storage, read> info: array<vec4u>;
@group(0) @binding(5) var<storage, read_write> tile_keys: array<u32>;
@group(0) @binding(6) var<storage, read_write> tile_weights: array<vec2f>;
const INVOCATIONS = 64u;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 64>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 64u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[63]; }
var<workgroup> next: array<atomic<u32>, 128>;
// What to add to a staged place to get that in the tile.
var<workgroup> shift: array<u32, 128>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, 1024>;
fn stage(key: i32, number: u32) {
  if (key >= 0) {
    let at = atomicAdd(&next[u32(key) >> 7u], 1u);
    atomicOr(&staged[at / 2u], number << (16u * (at % 2u)));
  }
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let unit = block / params.row_blocks;
  let in_unit = block % params.row_blocks;
  let first_row = in_unit * params.rows_per_block;
  let rows = min(params.rows_per_unit - first_row, params.rows_per_block);
  let first = (unit * params.rows_per_unit + first_row) * params.slots;
  let base = params.indices_base + first;
  for (var tile = t; tile < 128u; tile += INVOCATIONS) { atomicStore(&next[tile], 0u); }
  for (var word = t; word < 1024u; word += INVOCATIONS) { atomicStore(&staged[word], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < rows * params.slots; entry += INVOCATIONS) {
    let key = indices[base + entry];
    if (key >= 0) { atomicAdd(&next[u32(key) >> 7u], 1u); }
  }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < 2u; i++) {
    let tile = t * 2u + i;
    if (tile < 128u) { own += atomicLoad(&next[tile]); }
  }
  var at = scanned(own, t);
  let total = scan_total();
  for (var i = 0u; i < 2u; i++) {
    let tile = t * 2u + i;
    if (tile < 128u) {
      let count = atomicLoad(&next[tile]);
      atomicStore(&next[tile], at);
      if (tile < params.tiles) {
        let place = unit * params.tiles + tile;
        shift[tile] = (unit * params.entry_blocks + info[place].x) * params.block_entries
          + counts[place * params.row_blocks + in_unit] - at;
      }
      at += count;
    }
  }
  let has_slot = t < params.slots;
  var key = -1;
  if (has_slot) { key = indices[base + t]; }
  workgroupBarrier();
  for (var row = 0u; row < rows; row++) {
    var next_key = -1;
    if (has_slot && row + 1u < rows) { next_key = indices[base + (row + 1u) * params.slots + t]; }
    stage(key, row * params.slots + t);
    for (var s = t + INVOCATIONS; s < params.slots; s += INVOCATIONS) {
      stage(indices[base + row * params.slots + s], row * params.slots + s);
    }
    key = next_key;
    workgroupBarrier();
  }
  for (var place = t; place < total; place += INVOCATIONS) {
    let entry = (atomicLoad(&staged[place / 2u]) >> (16u * (place % 2u))) & 0xffffu;
    let key_of = u32(indices[base + entry]);
    let row = first_row + entry / params.slots;
    let to = shift[key_of >> 7u] + place;
    tile_keys[to] = (row << 7u) | (key_of & 127u);
    tile_weights[to] = weights[first + entry];
  }
}

// attention-backward count-keys {"keysPerTileLog2":7}
struct Params { blocks: u32, entry_blocks: u32, tiles: u32, block_entries: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_tiles: array<u32>;
@group(0) @binding(2) var<storage, read> info: array<vec4u>;
@group(0) @binding(3) var<storage, read> tile_keys: array<u32>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
const INVOCATIONS = 256u;

var<workgroup> count: array<atomic<u32>, 128>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == 4294967295u) { return; }
  let place = info[(block / params.entry_blocks) * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  for (var key = t; key < 128u; key += INVOCATIONS) { atomicStore(&count[key], 0u); }
  workgroupBarrier();
  for (var entry = t; entry < entries; entry += INVOCATIONS) {
    atomicAdd(&count[tile_keys[block * params.block_entries + entry] & 127u], 1u);
  }
  workgroupBarrier();
  for (var key = t; key < 128u; key += INVOCATIONS) {
    counts[block * 128u + key] = atomicLoad(&count[key]);
  }
}

// attention-backward scan-keys {"keysPerTileLog2":7}
struct Params { tiles: u32, all_tiles: u32, entry_blocks: u32, block_entries: u32, keys: u32, piece_words: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> info: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> counts: array<u32>;
@group(0) @binding(3) var<storage, read_write> ranges: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> piece_keys: array<u32>;
const INVOCATIONS = 128u;


fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 128>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 128u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[127]; }
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let place = group_index(group, groups);
  if (place >= params.all_tiles) { return; }
  for (var word = place * INVOCATIONS + t; word < params.piece_words; word += params.all_tiles * INVOCATIONS) {
    piece_keys[word] = 0u;
  }
  let unit = place / params.tiles;
  let tile = info[place];
  let first = unit * params.entry_blocks + tile.x;
  let end = first + (tile.y + params.block_entries - 1u) / params.block_entries;
  let own = t * 1u;
  var sums: array<u32, 1>;
  var total = 0u;
  for (var i = 0u; i < 1u; i++) {
    var sum = 0u;
    var block = first;
    for (; block + 16u <= end; block += 16u) { sum += counts[(block + 0u) * 128u + own + i] + counts[(block + 1u) * 128u + own + i] + counts[(block + 2u) * 128u + own + i] + counts[(block + 3u) * 128u + own + i] + counts[(block + 4u) * 128u + own + i] + counts[(block + 5u) * 128u + own + i] + counts[(block + 6u) * 128u + own + i] + counts[(block + 7u) * 128u + own + i] + counts[(block + 8u) * 128u + own + i] + counts[(block + 9u) * 128u + own + i] + counts[(block + 10u) * 128u + own + i] + counts[(block + 11u) * 128u + own + i] + counts[(block + 12u) * 128u + own + i] + counts[(block + 13u) * 128u + own + i] + counts[(block + 14u) * 128u + own + i] + counts[(block + 15u) * 128u + own + i]; }
    for (; block < end; block++) { sum += counts[block * 128u + own + i]; }
    sums[i] = sum;
    total += sum;
  }
  var at = tile.z + scanned(total, t);
  for (var i = 0u; i < 1u; i++) {
    let key = (place % params.tiles) * 128u + own + i;
    if (key < params.keys) { ranges[unit * params.keys + key] = vec2u(at, sums[i]); }
    var block = first;
    for (; block + 16u <= end; block += 16u) {
      let count0 = counts[(block + 0u) * 128u + own + i]; let count1 = counts[(block + 1u) * 128u + own + i]; let count2 = counts[(block + 2u) * 128u + own + i]; let count3 = counts[(block + 3u) * 128u + own + i]; let count4 = counts[(block + 4u) * 128u + own + i]; let count5 = counts[(block + 5u) * 128u + own + i]; let count6 = counts[(block + 6u) * 128u + own + i]; let count7 = counts[(block + 7u) * 128u + own + i]; let count8 = counts[(block + 8u) * 128u + own + i]; let count9 = counts[(block + 9u) * 128u + own + i]; let count10 = counts[(block + 10u) * 128u + own + i]; let count11 = counts[(block + 11u) * 128u + own + i]; let count12 = counts[(block + 12u) * 128u + own + i]; let count13 = counts[(block + 13u) * 128u + own + i]; let count14 = counts[(block + 14u) * 128u + own + i]; let count15 = counts[(block + 15u) * 128u + own + i];
      counts[(block + 0u) * 128u + own + i] = at; at += count0; counts[(block + 1u) * 128u + own + i] = at; at += count1; counts[(block + 2u) * 128u + own + i] = at; at += count2; counts[(block + 3u) * 128u + own + i] = at; at += count3; counts[(block + 4u) * 128u + own + i] = at; at += count4; counts[(block + 5u) * 128u + own + i] = at; at += count5; counts[(block + 6u) * 128u + own + i] = at; at += count6; counts[(block + 7u) * 128u + own + i] = at; at += count7; counts[(block + 8u) * 128u + own + i] = at; at += count8; counts[(block + 9u) * 128u + own + i] = at; at += count9; counts[(block + 10u) * 128u + own + i] = at; at += count10; counts[(block + 11u) * 128u + own + i] = at; at += count11; counts[(block + 12u) * 128u + own + i] = at; at += count12; counts[(block + 13u) * 128u + own + i] = at; at += count13; counts[(block + 14u) * 128u + own + i] = at; at += count14; counts[(block + 15u) * 128u + own + i] = at; at += count15;
    }
    for (; block < end; block++) {
      let count = counts[block * 128u + own + i];
      counts[block * 128u + own + i] = at;
      at += count;
    }
  }
}

// attention-backward scatter-keys {"keysPerTileLog2":7,"entries":256}
struct Params { blocks: u32, entry_blocks: u32, tiles: u32, block_entries: u32, keys: u32, rows_per_unit: u32, piece_entries: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> block_tiles: array<u32>;
@group(0) @binding(2) var<storage, read> info: array<vec4u>;
@group(0) @binding(3) var<storage, read> tile_keys: array<u32>;
@group(0) @binding(4) var<storage, read> tile_weights: array<vec2f>;
@group(0) @binding(5) var<storage, read> places: array<u32>;
@group(0) @binding(6) var<storage, read_write> sorted_rows: array<u32>;
@group(0) @binding(7) var<storage, read_write> sorted_weights: array<vec2f>;
@group(0) @binding(8) var<storage, read_write> piece_keys: array<u32>;
const INVOCATIONS = 256u;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }

var<workgroup> scan_sums: array<u32, 256>;
fn scanned(x: u32, t: u32) -> u32 {
  workgroupBarrier();
  scan_sums[t] = x;
  for (var step = 1u; step < 256u; step *= 2u) {
    workgroupBarrier();
    var before = 0u;
    if (t >= step) { before = scan_sums[t - step]; }
    workgroupBarrier();
    scan_sums[t] += before;
  }
  workgroupBarrier();
  return scan_sums[t] - x;
}
fn scan_total() -> u32 { return scan_sums[255]; }
var<workgroup> bits: array<atomic<u32>, 1024>;
var<workgroup> next: array<atomic<u32>, 128>;
// What to add to a staged place to get that in the sorted list.
var<workgroup> shift: array<u32, 128>;
// Two numbers a word.
var<workgroup> staged: array<atomic<u32>, 128>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let block = group_index(group, groups);
  if (block >= params.blocks) { return; }
  let tile = block_tiles[block];
  if (tile == 4294967295u) { return; }
  let unit = block / params.entry_blocks;
  let place = info[unit * params.tiles + tile];
  let entries = min(params.block_entries, place.y - (block % params.entry_blocks - place.x) * params.block_entries);
  let base = block * params.block_entries;
  for (var key = t; key < 128u; key += INVOCATIONS) { atomicStore(&next[key], 0u); }
  for (var number = t; number < 128u; number += INVOCATIONS) { atomicStore(&staged[number], 0u); }
  workgroupBarrier();
  for (var i = t; i < entries; i += INVOCATIONS) { atomicAdd(&next[tile_keys[base + i] & 127u], 1u); }
  workgroupBarrier();
  var own = 0u;
  for (var i = 0u; i < 1u; i++) {
    let key = t * 1u + i;
    if (key < 128u) { own += atomicLoad(&next[key]); }
  }
  var first_of = scanned(own, t);
  for (var i = 0u; i < 1u; i++) {
    let key = t * 1u + i;
    if (key < 128u) {
      let count = atomicLoad(&next[key]);
      atomicStore(&next[key], first_of);
      shift[key] = places[block * 128u + key] - first_of;
      first_of += count;
    }
  }
  let word = t / 32u;
  let bit = 1u << (t % 32u);
  // The keys of the next round are on their way while one is put in order.
  var coming = 0u;
  if (t < entries) { coming = tile_keys[base + t] & 127u; }
  for (var first = 0u; first < entries; first += INVOCATIONS) {
    for (var at = t; at < 1024u; at += INVOCATIONS) { atomicStore(&bits[at], 0u); }
    let is_entry = first + t < entries;
    let key = coming;
    let after = first + INVOCATIONS + t;
    if (after < entries) { coming = tile_keys[base + after] & 127u; }
    workgroupBarrier();
    if (is_entry) {
      atomicOr(&bits[word * 128u + key], bit);
    }
    workgroupBarrier();
    if (is_entry) {
      var at = atomicLoad(&next[key]) + countOneBits(atomicLoad(&bits[word * 128u + key]) & (bit - 1u));
      if (word > 0u) { at += countOneBits(atomicLoad(&bits[0u + key])); }
      if (word > 1u) { at += countOneBits(atomicLoad(&bits[128u + key])); }
      if (word > 2u) { at += countOneBits(atomicLoad(&bits[256u + key])); }
      if (word > 3u) { at += countOneBits(atomicLoad(&bits[384u + key])); }
      if (word > 4u) { at += countOneBits(atomicLoad(&bits[512u + key])); }
      if (word > 5u) { at += countOneBits(atomicLoad(&bits[640u + key])); }
      if (word > 6u) { at += countOneBits(atomicLoad(&bits[768u + key])); }
      if (word > 7u) { at += countOneBits(atomicLoad(&bits[896u + key])); }
      atomicOr(&staged[at / 2u], (first + t) << (16u * (at % 2u)));
    }
    workgroupBarrier();
    for (var counted = t; counted < 128u; counted += INVOCATIONS) {
      atomicStore(&next[counted], atomicLoad(&next[counted])
        + countOneBits(atomicLoad(&bits[0u + counted])) + countOneBits(atomicLoad(&bits[128u + counted])) + countOneBits(atomicLoad(&bits[256u + counted])) + countOneBits(atomicLoad(&bits[384u + counted])) + countOneBits(atomicLoad(&bits[512u + counted])) + countOneBits(atomicLoad(&bits[640u + counted])) + countOneBits(atomicLoad(&bits[768u + counted])) + countOneBits(atomicLoad(&bits[896u + counted])));
    }
    workgroupBarrier();
  }
  for (var i = t; i < entries; i += INVOCATIONS) {
    let number = (atomicLoad(&staged[i / 2u]) >> (16u * (i % 2u))) & 0xffffu;
    let entry = tile_keys[base + number];
    let key = entry & 127u;
    let at = shift[key] + i;
    sorted_rows[at] = unit * params.rows_per_unit + (entry >> 7u);
    sorted_weights[at] = tile_weights[base + number];
    let in_piece = at % params.piece_entries;
    let marked = unit * params.keys + tile * 128u + key + 1u;
    if (in_piece == 0u) { piece_keys[2u * (at / params.piece_entries)] = marked; }
    if (in_piece == params.piece_entries - 1u) { piece_keys[2u * (at / params.piece_entries) + 1u] = marked; }
  }
}

// attention-backward pieces {"headDim":64,"valueDim":64,"layout":{"width":4,"half":false},"subgroups":false}
struct Params { pieces: u32, piece_entries: u32, query_base: u32, gradient_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read> sorted_rows: array<u32>;
@group(0) @binding(4) var<storage, read> sorted_weights: array<vec2f>;
@group(0) @binding(5) var<storage, read> piece_keys: array<vec2u>;
@group(0) @binding(6) var<storage, read_write> sums: array<vec4f>;
const INVOCATIONS = 64u;

fn load_query(at: u32) -> vec4f { return query[at]; }
fn load_gradient(at: u32) -> vec4f { return gradient[at]; }
var<workgroup> staged_rows: array<u32, INVOCATIONS>;
var<workgroup> staged_weights: array<vec2f, INVOCATIONS>;
var<workgroup> parts: array<vec4f, INVOCATIONS>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
fn gathered(start: u32, end: u32, column: u32, t: u32) -> vec4f {
  let part = t / 32u;
  let query_base = params.query_base / 4u;
  let gradient_base = params.gradient_base / 4u;
  var sum = vec4f();
  for (var first = start; first < end; first += INVOCATIONS) {
    let count = min(INVOCATIONS, end - first);
    workgroupBarrier();
    if (t < count) {
      staged_rows[t] = sorted_rows[first + t];
      staged_weights[t] = sorted_weights[first + t];
    }
    workgroupBarrier();
    if (column < 16u) {
      for (var i = part; i < count; i += 2u) {
        sum += staged_weights[i].y * load_query(query_base + staged_rows[i] * 16u + column);
      }
    } else if (column < 32u) {
      for (var i = part; i < count; i += 2u) {
        sum += staged_weights[i].x
          * load_gradient(gradient_base + staged_rows[i] * 16u + column - 16u);
      }
    }
  }
  workgroupBarrier();
  parts[t] = sum;
  workgroupBarrier();
  if (part == 0u) {
    for (var other = 1u; other < 2u; other++) { sum += parts[other * 32u + t]; }
  }
  return sum;
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let piece = group_index(group, groups);
  if (piece >= params.pieces) { return; }
  let ends = piece_keys[piece];
  if (ends.x == 0u || ends.x != ends.y) { return; }
  let start = piece * params.piece_entries;
  for (var first = 0u; first < 32u; first += 32u) {
    let column = first + t % 32u;
    let sum = gathered(start, start + params.piece_entries, column, t);
    if (t < 32u && column < 32u) { sums[piece * 32u + column] = sum; }
  }
}

// attention-backward keys {"headDim":64,"valueDim":64,"layout":{"width":4,"half":false},"subgroups":false}
struct Params { keys: u32, piece_entries: u32, scale: f32, adds: u32, query_base: u32, gradient_base: u32, key_result_base: u32, value_result_base: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> query: array<vec4f>;
@group(0) @binding(2) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(3) var<storage, read> sorted_rows: array<u32>;
@group(0) @binding(4) var<storage, read> sorted_weights: array<vec2f>;
@group(0) @binding(5) var<storage, read> ranges: array<vec2u>;
@group(0) @binding(6) var<storage, read> sums: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> key_result: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> value_result: array<vec4f>;
const INVOCATIONS = 64u;

fn load_query(at: u32) -> vec4f { return query[at]; }
fn load_gradient(at: u32) -> vec4f { return gradient[at]; }
var<workgroup> staged_rows: array<u32, INVOCATIONS>;
var<workgroup> staged_weights: array<vec2f, INVOCATIONS>;
var<workgroup> parts: array<vec4f, INVOCATIONS>;

fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }
fn gathered(start: u32, end: u32, column: u32, t: u32) -> vec4f {
  let part = t / 32u;
  let query_base = params.query_base / 4u;
  let gradient_base = params.gradient_base / 4u;
  var sum = vec4f();
  for (var first = start; first < end; first += INVOCATIONS) {
    let count = min(INVOCATIONS, end - first);
    workgroupBarrier();
    if (t < count) {
      staged_rows[t] = sorted_rows[first + t];
      staged_weights[t] = sorted_weights[first + t];
    }
    workgroupBarrier();
    if (column < 16u) {
      for (var i = part; i < count; i += 2u) {
        sum += staged_weights[i].y * load_query(query_base + staged_rows[i] * 16u + column);
      }
    } else if (column < 32u) {
      for (var i = part; i < count; i += 2u) {
        sum += staged_weights[i].x
          * load_gradient(gradient_base + staged_rows[i] * 16u + column - 16u);
      }
    }
  }
  workgroupBarrier();
  parts[t] = sum;
  workgroupBarrier();
  if (part == 0u) {
    for (var other = 1u; other < 2u; other++) { sum += parts[other * 32u + t]; }
  }
  return sum;
}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) t: u32) {
  let key = group_index(group, groups);
  if (key >= params.keys) { return; }
  let start = ranges[key].x;
  let end = start + ranges[key].y;
  let first_piece = (start + params.piece_entries - 1u) / params.piece_entries;
  let end_piece = end / params.piece_entries;
  let has_pieces = end_piece > first_piece;
  for (var first = 0u; first < 32u; first += 32u) {
    let column = first + t % 32u;
    var sum = gathered(start, select(end, first_piece * params.piece_entries, has_pieces), column, t);
    if (has_pieces) {
      if (t < 32u && column < 32u) {
        for (var piece = first_piece; piece < end_piece; piece++) { sum += sums[piece * 32u + column]; }
      }
      sum += gathered(end_piece * params.piece_entries, end, column, t);
    }
    if (t < 32u && column < 32u) {
      if (column < 16u) {
        let at = params.key_result_base / 4u + key * 16u + column;
        sum *= params.scale;
        if (params.adds != 0u) { sum += key_result[at]; }
        key_result[at] = sum;
      } else {
        let at = params.value_result_base / 4u + key * 16u + column - 16u;
        if (params.adds != 0u) { sum += value_result[at]; }
        value_result[at] = sum;
      }
    }
  }
}
