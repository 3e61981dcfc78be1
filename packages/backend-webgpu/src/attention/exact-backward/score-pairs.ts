import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import type { Binding } from '../../runtime/binding.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, readFrom, write } from '../../wgsl/define-kernel.js';
import { geometryOf, geometryUniforms, type Part, visibleKeys } from '../shared/geometry.js';
import { type OptionSpans, optionBuffers } from '../shared/options.js';
import {
  invocationsOf,
  operandType,
  type ProductShape,
  productDeclarations,
  productLoaders,
  scoreRows,
  type TileRows,
  tileProducts,
  tileRow,
} from '../shared/scores/product.js';
import { type ScoreOptions, scoreFunctions } from '../shared/scores/scores-text.js';
import { tiledScoresGroups, tileStart } from '../shared/scores/tiled-scores.js';

/** What the text of the kernel depends on. */
interface PairParameters extends ScoreOptions {
  readonly valueDim: number;
  readonly rows: TileRows;
}

/** Buffers that the kernel binds besides those of the options. */
const OWN_BUFFERS = 6;

/** Whether a device binds all buffers of both products. */
export function fitsPair(
  { mask, bias, keyLengths, relativeBias }: ScoreOptions,
  facts: DeviceFacts,
): boolean {
  const options = [mask, bias, keyLengths, relativeBias].filter((one) => one).length;
  return OWN_BUFFERS + options <= facts.storageBuffers;
}

/**
 * Scores, as `tiledScores` makes them, and dP = dO V^T of the same tile after them: one launch, and the rows of dO and V are
 * on their way while the last dims of q and k are multiplied. dP is written for hidden keys too.
 *
 * Workgroup memory: 12 or 16 KiB, as for one product.
 */
const pairKernel = kernelFamily('attention exact-backward scores', (p: PairParameters) => ({
  uniforms: geometryUniforms,
  buffers: {
    q: readFrom(operandType(p)),
    k: readFrom(operandType(p)),
    gradient: readFrom(operandType(ofValues(p))),
    v: readFrom(operandType(ofValues(p))),
    scores: write('vec4u'),
    products: write('vec4f'),
    ...optionBuffers(p),
  },
  workgroup: invocationsOf(p),
  source: () => source(p),
}));

/** The second product. */
function ofValues({ valueDim, dtype, rows }: PairParameters): ProductShape {
  return { headDim: valueDim, dtype, rows, suffix: '_of_values' };
}

function source(p: PairParameters): string {
  const values = ofValues(p);
  const stores = (name: string): string =>
    scoreRows
      .map(
        (i) =>
          `${name}(first_row + ${tileRow(i, p)}, rows, key_head, first_key + 4u * tx, dots_${i}_0, dots_${i}_1);`,
      )
      .join('\n  ');
  const store = (name: string, near: string, far: string): string => `
fn store_${name}(row_index: u32, rows: u32, key_head: u32, first_key: u32, near: vec4f, far: vec4f) {
  if (row_index >= rows) { return; }
  let row = row_at(key_head * rows + row_index);
  let visible = visible_of(row);
  let at = (key_head * rows + row_index) * ((params.key_length + 3u) / 4u) + first_key / 4u;
  if (first_key < visible) { ${name}[at] = ${near}; }
  if (first_key + 64u < visible) { ${name}[at + 16u] = ${far}; }
}`;
  return `
${scoreFunctions(p)}
${productDeclarations(p)}
${productLoaders(values, 'gradient', 'v')}
${store('scores', 'scores_of(near, row, first_key, visible)', 'scores_of(far, row, first_key + 64u, visible)')}
${store('products', 'near', 'far')}

${tileStart(p)}
  {
  ${tileProducts(p, '', values)}
  ${stores('store_scores')}
  }
  {
  ${tileProducts(values, '')}
  ${stores('store_products')}
  }
}`;
}

/** Records both products of a part: f32 [rows, stride], `scores` as bits. */
export function recordScorePair(
  stream: Stream,
  request: AttentionRequest,
  part: Part,
  options: ScoreOptions,
  rows: TileRows,
  {
    extras,
    ...buffers
  }: Readonly<Record<'q' | 'k' | 'gradient' | 'v', Binding>> &
    Readonly<Record<'scores' | 'products', Span>> & { readonly extras: OptionSpans },
): void {
  const keyHeads = part.heads / groupSize(request);
  pairKernel({ ...options, valueDim: request.valueDim, rows }).launch(stream, {
    uniforms: geometryOf(request, part),
    buffers: { ...buffers, ...extras },
    workgroups: tiledScoresGroups(
      keyHeads,
      (part.heads * part.queries) / keyHeads,
      visibleKeys(request, part),
      rows,
    ),
  });
}
