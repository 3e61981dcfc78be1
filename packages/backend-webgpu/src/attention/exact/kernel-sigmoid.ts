import { lines, range } from '../../wgsl/text.js';
import type { ExactParameters } from './parameters.js';
import { rowText, tileKeys } from './tile.js';

/** `weights_of(scores)`: sigmoids of the scores plus the uniform `shift`; exp never overflows. */
export const sigmoidFunctions = `
fn weights_of(scores: vec4f) -> vec4f {
  let x = scores + vec4f(params.shift);
  let tail = exp(max(-abs(x), vec4f(-1000.0)));
  return select(tail, vec4f(1.0), x >= vec4f(0.0)) / (vec4f(1.0) + tail);
}`;

/** The weights of the step, which go to workgroup memory: no row looks at more than one score at a time. */
export function sigmoidWeights(p: ExactParameters): string {
  const keyQuads = tileKeys(p.tile) / 4;
  return lines(
    range(p.tile.rows).map((r) => {
      const weight = p.dropout
        ? `select(vec4f(0), w * params.kept_scale, are_kept(vec4u(batch, headOfBatch, query${r}, key0 + 4u * tx)))`
        : 'w';
      return `    { let isOut = isHidden(s${r}); let w = weights_of(select(s${r}, vec4f(0), isOut));
      weights[(${rowText(p.tile, r)}) * ${keyQuads}u + tx] = select(${weight}, vec4f(unseen), isOut); }`;
    }),
  );
}
