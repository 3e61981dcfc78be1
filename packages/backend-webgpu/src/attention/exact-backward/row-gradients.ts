import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
import { loadFloat } from '../../wgsl/numbers.js';
import { sigmoidFunctions } from '../exact/kernel-sigmoid.js';
import { dropoutKeeps } from '../shared/dropout.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import { visibleOf } from '../shared/validity.js';
import { text } from './row-gradients.wgsl.js';

const INVOCATIONS = 128;

/** What the text of the kernel depends on. */
interface RowGradientParameters {
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly keyLengths: boolean;
  readonly dropout: boolean;
  /** Whether weights are sigmoids: P = sigmoid(S + shift) and dS = P (1 - P) F dP, row sums apart. */
  readonly sigmoid: boolean;
}

/** Bits of a hidden key's weight: a zero distinguishable from that of a key whose weight underflows. */
export const HIDDEN_WEIGHT = '0x80000000u';

/**
 * From the scores S and the products dP = dO V^T of a row to its weights and the gradient of its scores, in place:
 * P = softmax(S), scaled by the dropout factors F, and dS = P * (F * dP - sum(P * F * dP)). One workgroup per row, two
 * passes over both. Every key that some query of the part sees is written: weight -0 and dS 0 where it is hidden, NaN
 * for every valid key of a row that holds a NaN or +inf.
 *
 * Queries whose dO holds a NaN or an infinity are listed in `unusual`: their count, then their rows in any order.
 * Workgroup memory: 12 bytes per invocation.
 */
const rowGradientsKernel = kernelFamily('attention exact-backward rows', (p: RowGradientParameters) => ({
  uniforms: { ...geometryUniforms, row_fours: 'u32', width: 'u32', shift: 'f32' },
  buffers: {
    scores: write('vec4u'),
    products: write('vec4f'),
    gradient: readFrom('u32'),
    unusual: write('atomic<u32>'),
    key_lengths: optional(p.keyLengths, read('i32')),
  },
  workgroup: INVOCATIONS,
  source: () => source(p),
}));

/**
 * `row_fours`: stride of the rows of `scores` and `products`; `width`: that of dO, which is `gradient`; `shift`: of the
 * sigmoids.
 */
export function recordRowGradients(
  stream: Stream,
  parameters: RowGradientParameters,
  geometry: PartGeometry,
  own: Readonly<Record<'row_fours' | 'width' | 'shift', number>>,
  buffers: Readonly<Record<'scores' | 'products' | 'unusual', Span>> & {
    readonly gradient: Binding;
    readonly key_lengths: Span | undefined;
  },
): void {
  rowGradientsKernel(parameters).launch(stream, {
    uniforms: { ...geometry, ...own },
    buffers,
    workgroups: geometry.heads * geometry.queries,
  });
}

function source({ dtype, causal, keyLengths, dropout, sigmoid }: RowGradientParameters): string {
  const steps: string[] = [];
  for (let step = INVOCATIONS / 2; step >= 1; step /= 2) {
    steps.push(`if (t < ${step}u) { join(t, t + ${step}u); } workgroupBarrier();`);
  }
  return `${rowAt}
${visibleOf(causal, keyLengths)}
${loadFloat('gradient', dtype === 'f16')}
${dropout ? dropoutKeeps : ''}
${sigmoid ? sigmoidFunctions : ''}
${fill(text, { dropout, softmax: !sigmoid, join_all: sigmoid ? '' : steps.join('\n  '), hidden_weight: HIDDEN_WEIGHT })}`;
}
