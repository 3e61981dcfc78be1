import { range } from '../../wgsl/text.js';

const BINS = 16;
const PASSES = 3;
/** Words of group maxima that a lane loads at a time. */
const WORDS_AT_ONCE = 8;

/**
 * `guess`: the rank-th largest of the lane's group maxima, lower by up to a bin of the last pass; `enough`: whether it
 * has that many. The histogram is the lane's own, in the memory of the score tiles; bin 0 counts the values below.
 */
export function thresholdText(groupWords: number): string {
  return `var base = low;
    var per_unit = ${BINS - 0.001} / max(high - low, 1e-20);
    var above = 0.0;
    var enough = true;
    workgroupBarrier();
    for (var digit = 0u; digit < ${PASSES}u; digit++) {
      for (var bin = 0u; bin <= ${BINS}u; bin++) { scores[read_at + bin * 32u] = 0.0; }
      for (var word = 0u; word < ${groupWords}u; word += ${WORDS_AT_ONCE}u) {
        let at = groups_at + word * 32u;
        ${range(WORDS_AT_ONCE)
          .map((w) => `let pair${w} = unpack2x16float(lists[at + ${32 * w}u]);`)
          .join('\n        ')}
        ${range(WORDS_AT_ONCE)
          .flatMap((w) =>
            ['x', 'y'].map(
              (half) => `{
          let place = (pair${w}.${half} - base) * per_unit;
          let bin = select(u32(clamp(place + 1.0, 0.0, ${BINS}.0)), 0u, digit > 0u && place >= ${BINS}.0);
          scores[read_at + bin * 32u] += 1.0;
        }`,
            ),
          )
          .join('\n        ')}
      }
      var bin = ${BINS}u;
      while (bin > 0u) {
        let reached = above + scores[read_at + bin * 32u];
        if (reached >= rank) { break; }
        above = reached;
        bin--;
      }
      if (bin == 0u) {
        if (digit == 0u) { enough = false; }
        bin = 1u;
      }
      base += f32(bin - 1u) / per_unit;
      per_unit *= ${BINS}.0;
    }
    let guess = base - ${2 ** -10} * abs(base) - 2e-6 * (abs(low) + abs(high));`;
}
