import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Binding } from '../../../runtime/binding.js';
import type { DeviceFacts } from '../../../runtime/facts.js';
import { gridOf, type Span } from '../../../runtime/kernel.js';
import type { Stream } from '../../../runtime/stream.js';
import { type Geometry, geometryWords, groupOf, visibleKeys } from '../geometry.js';
import { type TileRows, tileRowsOn } from './product.js';
import { scoresGroups, scoresKernel } from './scores-kernel.js';
import { scoresPlainGroups, scoresPlainKernel } from './scores-plain-kernel.js';
import type { ScoreOptions } from './scores-text.js';

/** Rows of the tiles that the product for scores takes; undefined: one key at a time, for devices in software. */
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

/** Scores of a part's queries with all keys that one of them sees. `extras`: the options' spans, in the order of `optionSpans`. */
export function recordScores(
  stream: Stream,
  { request, part }: Geometry,
  options: ScoreOptions,
  tileRows: TileRows | undefined,
  views: { readonly q: Binding; readonly k: Binding },
  scores: Span,
  extras: readonly Span[],
): void {
  const { q, k } = views;
  const rows = part.heads * part.queries;
  const keyHeads = part.heads / groupOf(request);
  const seen = visibleKeys(request, part);
  stream.launch({
    kernel:
      tileRows === undefined ? scoresPlainKernel(options) : scoresKernel({ ...options, rows: tileRows }),
    buffers: [q.span, k.span, scores, ...extras],
    uniforms: geometryWords({ request, part, bases: { q: q.base, k: k.base } }),
    workgroups: gridOf(
      tileRows === undefined
        ? scoresPlainGroups(rows, seen)
        : scoresGroups(keyHeads, rows / keyHeads, seen, tileRows),
    ),
  });
}
