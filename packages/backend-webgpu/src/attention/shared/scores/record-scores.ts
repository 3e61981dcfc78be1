import { type AttentionRequest, groupSize } from '@topk-attention/core/backend';
import type { Binding } from '../../../runtime/binding.js';
import type { DeviceFacts } from '../../../runtime/facts.js';
import type { Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { kernelFamily, readFrom, write } from '../../../wgsl/define-kernel.js';
import { geometryOf, geometryUniforms, type Part, visibleKeys } from '../geometry.js';
import { type OptionSpans, optionBuffers } from '../options.js';
import { PLAIN_INVOCATIONS, plainScores, plainScoresGroups } from './plain-scores.js';
import { invocationsOf, operandType, type TileRows, tileRowsOn } from './product.js';
import type { ScoreOptions } from './scores-text.js';
import { tiledScores, tiledScoresGroups } from './tiled-scores.js';

/** Scores of the rows of a part: in tiles of `rows`, or, without `rows`, by the plain kernel. */
const scoresKernel = kernelFamily(
  'attention scores',
  ({ rows, ...options }: ScoreOptions & { readonly rows?: TileRows | undefined }) => ({
    uniforms: geometryUniforms,
    buffers: {
      q: readFrom(operandType(options)),
      k: readFrom(operandType(options)),
      scores: write('vec4u'),
      ...optionBuffers(options),
    },
    workgroup: rows === undefined ? PLAIN_INVOCATIONS : invocationsOf({ rows }),
    source: () => (rows === undefined ? plainScores(options) : tiledScores({ ...options, rows })),
  }),
);

/** Rows of the tiles used by the product for scores; undefined: one key at a time, for software devices. */
export function scoreTileRows(facts: DeviceFacts): TileRows | undefined {
  return facts.isSoftware ? undefined : tileRowsOn(facts);
}

export function scoreOptionsOf(request: AttentionRequest): ScoreOptions {
  const { headDim, dtype, causal, keyLengths } = request;
  return {
    ...{ headDim, dtype, causal, keyLengths },
    mask: request.mask !== undefined,
    bias: request.bias !== undefined,
    relativeBias: request.relativeBias !== undefined,
  };
}

/** What kernels of scores read and write. */
export interface ScoreBuffers {
  readonly q: Binding;
  readonly k: Binding;
  readonly scores: Span;
  readonly extras: OptionSpans;
}

/** Scores of a part's queries with all keys that any of them sees: [rows, stride] bits of f32; see `tiledScores`. */
export function recordScores(
  stream: Stream,
  request: AttentionRequest,
  part: Part,
  options: ScoreOptions,
  tileRows: TileRows | undefined,
  { extras, ...buffers }: ScoreBuffers,
): void {
  const rows = part.heads * part.queries;
  const keyHeads = part.heads / groupSize(request);
  const seen = visibleKeys(request, part);
  scoresKernel({ ...options, rows: tileRows }).launch(stream, {
    uniforms: geometryOf(request, part),
    buffers: { ...buffers, ...extras },
    workgroups:
      tileRows === undefined
        ? plainScoresGroups(rows, seen)
        : tiledScoresGroups(keyHeads, rows / keyHeads, seen, tileRows),
  });
}
