import { f32Bits, gridOf, type Kernel, type Span, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { loadFloat } from '../../wgsl/numbers.js';

const INVOCATIONS = 256;

function safeRowsKernel(half: boolean): Kernel {
  return {
    key: `attention exact-backward safe-rows ${half ? 'f16' : 'f32'}`,
    buffers: ['read', 'write'],
    source: () => `
struct Params { base: u32, unit_step: u32, rows: u32, rows_out: u32, width: u32, units: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> safe: array<f32>;
${loadFloat('x', half)}
@compute @workgroup_size(${INVOCATIONS})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * ${INVOCATIONS}u;
  let unit_size = params.rows_out * params.width;
  if (at >= params.units * unit_size) { return; }
  let place = at % unit_size;
  var value = 0.0;
  if (place < params.rows * params.width) {
    let found = load_x(params.base + at / unit_size * params.unit_step + place);
    if ((bitcast<u32>(found) & 0x7f800000u) != 0x7f800000u) { value = params.factor * found; }
  }
  safe[at] = value;
}`,
  };
}

/** Runs of rows: unit u begins `base + u * unitStep` elements into the span and has `rows` rows of `width` elements. */
export interface RowRuns {
  readonly span: Span;
  readonly half: boolean;
  readonly base: number;
  readonly unitStep: number;
  readonly units: number;
  readonly rows: number;
  readonly width: number;
}

/**
 * f32 [units, rowsOut, width]: the rows times `factor`, 0 for every NaN and infinity, then rows of zeros. In a product with
 * weights of 0 a row of NaN would not be left out.
 */
export function recordSafeRows(
  stream: Stream,
  { span, half, base, unitStep, units, rows, width }: RowRuns,
  rowsOut: number,
  factor: number,
): Span {
  const safe = stream.scratch(4 * units * rowsOut * width);
  stream.launch({
    kernel: safeRowsKernel(half),
    buffers: [span, safe],
    uniforms: uniformWords([base, unitStep, rows, rowsOut, width, units, f32Bits(factor)]),
    workgroups: gridOf(Math.ceil((units * rowsOut * width) / INVOCATIONS)),
  });
  return safe;
}
