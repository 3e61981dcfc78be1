import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, readFrom, write } from '../../wgsl/define-kernel.js';
import { loadFloat } from '../../wgsl/numbers.js';

const safeRowsKernel = kernelFamily(
  'attention exact-backward safe-rows',
  ({ half }: { readonly half: boolean }) => ({
    uniforms: { unit_step: 'u32', rows: 'u32', rows_out: 'u32', width: 'u32', units: 'u32', factor: 'f32' },
    buffers: { x: readFrom('u32'), safe: write('f32') },
    workgroup: 256,
    source: () => `
${loadFloat('x', half)}
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  let unit_size = params.rows_out * params.width;
  if (at >= params.units * unit_size) { return; }
  let place = at % unit_size;
  var value = 0.0;
  if (place < params.rows * params.width) {
    let found = load_x(params.x_base + at / unit_size * params.unit_step + place);
    if ((bitcast<u32>(found) & 0x7f800000u) != 0x7f800000u) { value = params.factor * found; }
  }
  safe[at] = value;
}`,
  }),
);

/** Runs of rows: unit u begins `base + u * unitStep` elements into the span and has `rows` rows of `width` elements. */
export interface RowRuns extends Binding {
  readonly half: boolean;
  readonly unitStep: number;
  readonly units: number;
  readonly rows: number;
  readonly width: number;
}

/**
 * f32 [units, rowsOut, width]: the rows times `factor`, with 0 for every NaN and infinity, then rows of zeros. In a
 * product, a NaN row would add NaN even with weights of 0.
 */
export function recordSafeRows(
  stream: Stream,
  { span, half, base, unitStep, units, rows, width }: RowRuns,
  rowsOut: number,
  factor: number,
): Span {
  const safe = stream.scratch(4 * units * rowsOut * width);
  safeRowsKernel({ half }).launch(stream, {
    uniforms: { unit_step: unitStep, rows, rows_out: rowsOut, width, units, factor },
    buffers: { x: { span, base }, safe },
    workgroups: { invocations: units * rowsOut * width },
  });
  return safe;
}
