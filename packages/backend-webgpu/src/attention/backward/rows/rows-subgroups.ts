import { range, times } from '../../../wgsl/text.js';
import { powerOfTwo } from '../layout/rows.js';
import { takesSubgroups } from '../layout/subgroups.js';
import { type RowShape, rowFunctions } from './row-shape.js';

export const LANES = 32;
/** Most slots whose weights stay in registers. */
const MOST_SLOTS = 512;
/** Rows of values or keys in flight at a time, per lane. */
const AHEAD = 16;

/** Slots per lane; undefined where the kernel does not take the shape. */
export function registersOf({ headDim, valueDim, layout }: RowShape, slots: number): number | undefined {
  if (slots > MOST_SLOTS || !takesSubgroups(headDim, valueDim, layout)) return undefined;
  return Math.ceil(slots / LANES);
}

/** dP of 32 slots, register `i` of every lane, into `product<i>`. */
function products(i: number, valueColumns: number): string {
  const across = Math.min(8, powerOfTwo(valueColumns));
  const blocks = Math.ceil(valueColumns / across);
  const isWhole = valueColumns % across === 0;
  const together = Math.min(across, 2 ** Math.floor(Math.log2(Math.max(1, AHEAD / blocks))));
  const lines: string[] = [];
  for (let first = 0; first < across; first += together) {
    lines.push('{');
    for (const u of range(together)) {
      lines.push(
        `let at${u} = value_base + (first_key + subgroupShuffle(key${i}, lane - lane % ${across}u + ${first + u}u)) * ${valueColumns}u;`,
      );
      for (const b of range(blocks)) {
        const column = `lane % ${across}u + ${b * across}u`;
        lines.push(
          `let x${u}_${b} = load_value(at${u} + ${isWhole ? column : `min(${column}, ${valueColumns - 1}u)`});`,
        );
      }
    }
    for (const u of range(together)) {
      const terms = range(blocks).map((b) => {
        const term = `dot(gradient${b}, x${u}_${b})`;
        return isWhole || b < blocks - 1
          ? term
          : `select(0.0, ${term}, lane % ${across}u + ${b * across}u < ${valueColumns}u)`;
      });
      lines.push(`var sum${u} = ${terms.join(' + ')};`);
    }
    for (let distance = 1; distance < across; distance *= 2) {
      for (const u of range(together)) lines.push(`sum${u} += subgroupShuffleXor(sum${u}, ${distance}u);`);
    }
    for (const u of range(together)) {
      lines.push(`product${i} = select(product${i}, sum${u}, lane % ${across}u == ${first + u}u);`);
    }
    lines.push('}');
  }
  return lines.join('\n  ');
}

/**
 * As `plainRows`, one subgroup of 32 per query, whose lanes hold the slots: groups of up to 8 lanes read a row of V
 * together. k up to 512, whole vectors of four. Passes over memory: scores once, V and K rows of the kept keys once,
 * pairs written once. Workgroup memory: 8 bytes per slot.
 */
export function subgroupRows(shape: RowShape, registers: number): string {
  const { headDim, valueDim, dropout } = shape;
  const columns = headDim / 4;
  const valueColumns = valueDim / 4;
  const valueAcross = Math.min(8, powerOfTwo(valueColumns));
  const valueBlocks = Math.ceil(valueColumns / valueAcross);
  const across = Math.min(LANES, powerOfTwo(columns));
  const parts = LANES / across;
  const blocks = Math.ceil(columns / across);
  const isWhole = columns % across === 0;
  const slots = registers * LANES;
  const ahead = Math.max(1, Math.min(slots / parts, Math.floor(8 / blocks)));
  const perRegister = (body: (i: number) => string): string => times(registers, body, '\n  ');
  const column = (b: number): string => {
    const at = `lane % ${across}u + ${b * across}u`;
    return isWhole ? at : `min(${at}, ${columns - 1}u)`;
  };
  return `${rowFunctions(shape)}
var<workgroup> shared_keys: array<u32, ${slots}>;
var<workgroup> shared_gradients: array<f32, ${slots}>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
  @builtin(subgroup_invocation_id) lane: u32) {
  let row = group_index(group, groups);
  if (row >= params.rows) { return; }
  let first_key = (row / params.rows_per_unit) * params.keys;
  let first_slot = row * params.slots;
  ${range(valueBlocks)
    .map((b) => {
      const at = `lane % ${valueAcross}u + ${b * valueAcross}u`;
      const clamped = valueColumns % valueAcross === 0 ? at : `min(${at}, ${valueColumns - 1}u)`;
      return `let gradient${b} = load_gradient(params.gradient_base / 4u + row * ${valueColumns}u + ${clamped});`;
    })
    .join('\n  ')}
  var largest = -3.4e38;
  var is_bad = false;
  // A slot without a key takes the row's first one, whose rows are read in any case, with weight 0.
  let fallback = u32(max(indices[params.indices_base + first_slot], 0));
  ${perRegister(
    (i) => `var key${i} = fallback; var valid${i} = false; var score${i} = 0.0;
  if (lane + ${i * LANES}u < params.slots) {
    let index = indices[params.indices_base + first_slot + ${i * LANES}u + lane];
    let bits = scores[params.scores_base + first_slot + ${i * LANES}u + lane];
    is_bad = is_bad || is_nan_or_plus_inf(bits);
    valid${i} = index >= 0;
    if (valid${i}) { key${i} = u32(index); score${i} = bitcast<f32>(bits); }
  }`,
  )}
  is_bad = subgroupAny(is_bad);
  let has_keys = subgroupAny(valid0);
  ${perRegister((i) => `if (valid${i} && !is_bad) { largest = max(largest, score${i}); }`)}
  largest = subgroupMax(largest);
  var total = 0.0;
  ${perRegister((i) => `let weight${i} = select(0.0, exp(score${i} - largest), valid${i}); total += weight${i};`)}
  let inverse = 1.0 / subgroupAdd(total);
  let value_base = params.value_base / 4u;
  var mean = 0.0;
  ${perRegister(
    (i) => `var product${i} = 0.0;
  ${products(i, valueColumns)}
  let p${i} = select(0.0, weight${i} * inverse, valid${i});
  ${dropout ? `let factor${i} = dropout_factor(row, lane + ${i * LANES}u);` : ''}
  product${i} = select(0.0, ${dropout ? `factor${i} * ` : ''}product${i}, valid${i});
  mean += p${i} * product${i};`,
  )}
  mean = subgroupAdd(mean);
  ${perRegister(
    (i) => `let made${i} = vec2f(p${i}${dropout ? ` * factor${i}` : ''}, p${i} * (product${i} - mean));
  if (lane + ${i * LANES}u < params.slots) {
    weights[first_slot + ${i * LANES}u + lane] = select(made${i}, vec2f(nan()), is_bad);
  }
  shared_keys[${i * LANES}u + lane] = params.key_base / 4u + (first_key + key${i}) * ${columns}u;
  shared_gradients[${i * LANES}u + lane] = made${i}.y;`,
  )}
  workgroupBarrier();
  ${range(blocks)
    .map((b) => `var sum${b} = vec4f(0.0);`)
    .join(' ')}
  for (var first = lane / ${across}u; first < ${slots}u; first += ${parts * ahead}u) {
    ${range(ahead)
      .map(
        (u) => `let slot${u} = first + ${u * parts}u; let at${u} = shared_keys[slot${u}];
    ${range(blocks)
      .map((b) => `let x${u}_${b} = load_key(at${u} + ${column(b)});`)
      .join(' ')}`,
      )
      .join('\n    ')}
    ${range(ahead)
      .map((u) =>
        range(blocks)
          .map((b) => `sum${b} = fma(vec4f(shared_gradients[slot${u}]), x${u}_${b}, sum${b});`)
          .join(' '),
      )
      .join('\n    ')}
  }
  ${range(Math.log2(parts))
    .map((i) =>
      range(blocks)
        .map((b) => `sum${b} += subgroupShuffleXor(sum${b}, ${across * 2 ** i}u);`)
        .join(' '),
    )
    .join('\n  ')}
  ${range(blocks)
    .map(
      (b) => `if (lane < ${across}u && lane + ${b * across}u < ${columns}u) {
    let sum = select(vec4f(0.0), sum${b} * params.scale, has_keys);
    result[params.result_base / 4u + row * ${columns}u + lane + ${b * across}u] = select(sum, vec4f(nan()), is_bad);
  }`,
    )
    .join('\n  ')}
}`;
}
