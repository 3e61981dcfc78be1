/** Bins of the histogram that an invocation sums. */
const BINS_EACH = 256u / INVOCATIONS;
var<workgroup> histogram: array<atomic<u32>, 256>;
var<workgroup> scanned: array<u32, INVOCATIONS>;
/** The search so far: the keys above `threshold` are kept, and the first `quota` of those equal to it. */
var<workgroup> threshold: u32;
var<workgroup> quota: u32;
/** Keys that share the digits found so far, and whether all of them are kept, so that no more digits are needed. */
var<workgroup> sharing: u32;
var<workgroup> settled: u32;

/** Inclusive sums of `scanned`, in place. */
fn scan(local: u32) {
  workgroupBarrier();
  for (var step = 1u; step < INVOCATIONS; step <<= 1u) {
    let sum = scanned[local] + select(0u, scanned[max(local, step) - step], local >= step);
    workgroupBarrier();
    scanned[local] = sum;
    workgroupBarrier();
  }
}

fn begin_search(local: u32, k: u32) {
  if (local == 0u) {
    threshold = 0u;
    quota = k;
    settled = 0u;
  }
}

fn clear_histogram(local: u32) {
  for (var bin = local; bin < 256u; bin += INVOCATIONS) { atomicStore(&histogram[bin], 0u); }
  workgroupBarrier();
}

/** Takes the digit at `shift` from the histogram. Where fewer than k keys exist at all, the threshold stays 0. */
fn settle(local: u32, shift: u32) {
  workgroupBarrier();
  // Sums count from the largest digit down.
  var counts = array<u32, BINS_EACH>();
  var mine = 0u;
  for (var i = 0u; i < BINS_EACH; i++) {
    counts[i] = atomicLoad(&histogram[255u - local * BINS_EACH - i]);
    mine += counts[i];
  }
  scanned[local] = mine;
  scan(local);
  let wanted = quota;
  var reached = scanned[local] - mine;
  let found = threshold;
  if (shift == 24u && local == INVOCATIONS - 1u && reached + mine < wanted) { settled = 1u; }
  workgroupBarrier();
  for (var i = 0u; i < BINS_EACH; i++) {
    if (reached < wanted && reached + counts[i] >= wanted) {
      threshold = found | ((255u - local * BINS_EACH - i) << shift);
      quota = wanted - reached;
      sharing = counts[i];
      if (counts[i] == wanted - reached) { settled = 1u; }
    }
    reached += counts[i];
  }
  workgroupBarrier();
}

/** Every key that shares the digits found is kept: they lie above the key below the least of them. */
fn end_search(local: u32) {
  if (local == 0u && threshold > 0u && sharing == quota) {
    threshold -= 1u;
    quota = 0u;
  }
  workgroupBarrier();
}

fn fill_unused(row: u32, first: u32, local: u32) {
  for (var slot = first + local; slot < params.k; slot += INVOCATIONS) {
    store_values(params.values_base + row * params.k + slot, MINUS_INF);
    indices[params.indices_base + row * params.k + slot] = -1;
  }
}
