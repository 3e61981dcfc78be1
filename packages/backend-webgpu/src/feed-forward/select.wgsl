var<workgroup> bins: array<atomic<u32>, 2048>;
var<workgroup> above_bits: array<atomic<u32>, 256>;
var<workgroup> equal_bits: array<atomic<u32>, 256>;
var<workgroup> has_nan: atomic<u32>;
/** Digit found, entries still wanted from its bin, entries in its bin. */
var<workgroup> found: vec3u;

fn value_of(row: u32, unit: u32, s: f32) -> f32 {
  return ${value};
}

/** Bits of neighbouring ranks; NaN beyond the row, where `key_of` is 0 and nobody looks for NaN. */
fn rank_bits(row: u32, unit: u32, end: u32) -> ${words} {
  if (unit >= end) { return ${words}(0xff800000u); }
  let s = ${some_preactivations};
  return bitcast<${words}>(${rank});
}

/** Grows with the rank; -0 equals +0; 0 for NaN and -inf, which are never kept. */
fn key_of(bits: u32) -> u32 {
  let key = bits ^ (bitcast<u32>(bitcast<i32>(bits) >> 31u) | 0x80000000u);
  let is_valid = key - 0x00800000u <= 0xff000000u;
  return select(select(0u, key, is_valid), 0x80000000u, bits == 0x80000000u);
}

fn count_first(bits: u32) {
  let key = key_of(bits);
  if (key != 0u) { atomicAdd(&bins[key >> 21u], 1u); }
  else if (bits != 0xff800000u) { atomicOr(&has_nan, 1u); }
}

fn count_next(bits: u32, prefix_shift: u32, prefix: u32, shift: u32, digits: u32) {
  let key = key_of(bits);
  if ((key >> prefix_shift) == prefix && key != 0u) { atomicAdd(&bins[(key >> shift) & digits], 1u); }
}

/** Finds the bin of the k-th largest entry: the digit, how many of the bin are kept, how many it holds. */
fn search(t: u32, wanted: u32) -> vec3u {
  var counted = 0u;
  for (var i = 0u; i < 8u; i++) { counted += atomicLoad(&bins[2047u - 8u * t - i]); }
  let through = scanned(counted, t);
  if (t == 0u) { found = vec3u(0xffffffffu, 0u, 0u); }
  workgroupBarrier();
  var before = through - counted;
  if (before < wanted && wanted <= through) {
    for (var i = 0u; i < 8u; i++) {
      let bin = 2047u - 8u * t - i;
      let size = atomicLoad(&bins[bin]);
      if (before < wanted && wanted <= before + size) { found = vec3u(bin, wanted - before, size); }
      before += size;
    }
  }
  return workgroupUniformLoad(&found);
}

fn clear_bins(t: u32) {
  for (var i = t; i < 2048u; i += 256u) { atomicStore(&bins[i], 0u); }
}

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32) {
  let row = group.x + group.y * groups.x;
  if (row >= params.tokens) { return; }
  if (t == 0u) { atomicStore(&has_nan, 0u); }

  // The k-th key: `least` is the smallest key kept in any case, `tied` keys of `equal` are kept, lower units first.
  var prefix = 0u;
  var wanted = params.k;
  var least = 1u;
  var equal = 0u;
  var tied = 0u;
  for (var pass_index = 0u; pass_index < 3u; pass_index++) {
    let shift = select(select(0u, 10u, pass_index == 1u), 21u, pass_index == 0u);
    let prefix_shift = select(10u, 21u, pass_index == 1u);
    let digits = select(0x7ffu, 0x3ffu, pass_index == 2u);
    clear_bins(t);
    workgroupBarrier();
    for (var first = 0u; first < params.hidden; first += ${step}u) {
      ${load_of_row}
      if (pass_index == 0u) {
        ${count_first_units}
      } else {
        ${count_next_units}
      }
    }
    workgroupBarrier();
    let hit = search(t, wanted);
    if (hit.x == 0xffffffffu) { break; } // fewer than k valid units: all are kept
    prefix = (prefix << select(11u, 10u, pass_index == 2u)) | hit.x;
    wanted = hit.y;
    if (hit.y == hit.z) { // the whole bin
      least = max(prefix << shift, 1u);
      break;
    }
    if (pass_index == 2u) {
      least = prefix + 1u;
      equal = prefix;
      tied = wanted;
    }
  }
  let is_nan_row = atomicLoad(&has_nan) != 0u;
  let list = row * params.k;
  let nan = bitcast<f32>(params.nan_bits);

  // Kept units in ascending order.
  var written = 0u;
  var ties_before = 0u;
  for (var start = 0u; start < params.hidden; start += 8192u) {
    atomicStore(&above_bits[t], 0u);
    atomicStore(&equal_bits[t], 0u);
    workgroupBarrier();
    let end = min(start + 8192u, params.hidden);
    for (var first = start; first < end; first += ${step}u) {
      ${load_of_part}
      ${mark_units}
    }
    workgroupBarrier();
    var chosen = atomicLoad(&above_bits[t]);
    var equals = atomicLoad(&equal_bits[t]);
    let own = (countOneBits(chosen) << 16u) | countOneBits(equals);
    let through = scanned(own, t);
    let before = through - own;
    var rank = ties_before + (before & 0xffffu);
    var slot = written + (before >> 16u) + min(tied, rank) - min(tied, ties_before);
    while (equals != 0u && rank < tied) {
      let bit = equals & (~equals + 1u);
      chosen |= bit;
      equals ^= bit;
      rank++;
    }
#if is_dense
    atomicStore(&above_bits[t], chosen);
#endif
    while (chosen != 0u) {
      let bit = firstTrailingBit(chosen);
      chosen &= chosen - 1u;
      let unit = start + 32u * t + bit;
      let s = ${one_preactivation};
      indices[params.indices_base + list + slot] = i32(unit);
      weights[params.weights_base + list + slot] = select(value_of(row, unit, s), nan, is_nan_row);
#if saves
      kept[params.kept_base + list + slot] = select(s, nan, is_nan_row);
#endif
      slot++;
    }
    let all = scan_cells[255];
    written += (all >> 16u) + min(tied, ties_before + (all & 0xffffu)) - min(tied, ties_before);
    ties_before += all & 0xffffu;
#if is_dense
    storageBarrier();
    workgroupBarrier();
    for (var at = ${width}u * t; at < end - start; at += 256u * ${width}u) {
      let place = (params.preactivations_base + row * params.hidden + start + at) / ${width}u;
      let bits = atomicLoad(&above_bits[at >> 5u]) >> (at & 31u);
      if ((bits & ${all_bits}u) != 0u) {
        let s = preactivations[place];
        preactivations[place] = ${kept_values};
      } else {
        preactivations[place] = ${floats}();
      }
    }
#endif
    workgroupBarrier();
  }
  for (var slot = written + t; slot < params.k; slot += 256u) {
    indices[params.indices_base + list + slot] = -1;
    weights[params.weights_base + list + slot] = 0.0;
#if saves
    kept[params.kept_base + list + slot] = select(0.0, nan, is_nan_row);
#endif
  }
  if (t == 0u) { counts[params.counts_base + row] = select(written, 0xffffffffu, is_nan_row); }
}
