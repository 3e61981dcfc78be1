import { TopKError } from '@topk-attention/core';

/** How far outputs are from the exact model's: of each sample the mean over its rows, and of all samples the largest. */
export interface OutputError {
  /** Of logits: the divergence KL(exact || top-k), in nats. */
  readonly kl?: number;
  /** Of logits: the share of rows whose largest one is another. */
  readonly argmax?: number;
  /** 1 - cosine of the angle between the two rows. */
  readonly cosine: number;
}

/** What a tolerance bounds. */
export type Measure = keyof OutputError;

/** The exact output of a sample: rows of `width` numbers. */
export interface Output {
  readonly width: number;
  readonly values: ArrayLike<number>;
}

/** The error of one sample. @throws TopKError NAN_FOUND */
export function errorBetween(exact: Output, values: ArrayLike<number>, isLogits: boolean): OutputError {
  const { width } = exact;
  const rows = values.length / width;
  let [kl, argmax, cosine] = [0, 0, 0];
  for (let start = 0; start < values.length; start += width) {
    if (isLogits) {
      const [p, q] = [rowFacts(exact.values, start, width), rowFacts(values, start, width)];
      kl += divergence(exact.values, p.norm, values, q.norm, start, width);
      if (p.best !== q.best) argmax++;
    }
    cosine += 1 - cosineOf(exact.values, values, start, width);
  }
  if (Number.isNaN(kl + cosine)) {
    throw new TopKError('NAN_FOUND', 'the outputs of the model hold a NaN', {
      expected: 'numbers',
      got: 'NaN',
      fix: 'Check the weights for NaN and infinities',
    });
  }
  // Rounding makes the divergence of equal rows a little negative.
  return {
    ...(isLogits && { kl: Math.max(0, kl / rows), argmax: argmax / rows }),
    cosine: Math.max(0, cosine / rows),
  };
}

/** Of outputs that are the exact model's. */
export function noError(isLogits: boolean): OutputError {
  return { ...(isLogits && { kl: 0, argmax: 0 }), cosine: 0 };
}

/** The larger of each. */
export function worse(one: OutputError, other: OutputError): OutputError {
  return {
    ...(one.kl !== undefined && { kl: Math.max(one.kl, other.kl ?? 0) }),
    ...(one.argmax !== undefined && { argmax: Math.max(one.argmax, other.argmax ?? 0) }),
    cosine: Math.max(one.cosine, other.cosine),
  };
}

/** log(sum(exp(row))), and where its largest number stands. */
function rowFacts(
  values: ArrayLike<number>,
  start: number,
  width: number,
): { readonly norm: number; readonly best: number } {
  let best = 0;
  for (let at = 1; at < width; at++)
    if ((values[start + at] as number) > (values[start + best] as number)) best = at;
  const largest = values[start + best] as number;
  let total = 0;
  for (let at = 0; at < width; at++) total += Math.exp((values[start + at] as number) - largest);
  return { norm: largest + Math.log(total), best };
}

function divergence(
  exact: ArrayLike<number>,
  exactNorm: number,
  other: ArrayLike<number>,
  otherNorm: number,
  start: number,
  width: number,
): number {
  let sum = 0;
  for (let at = start; at < start + width; at++) {
    const logP = (exact[at] as number) - exactNorm;
    // A token of probability 0 adds nothing, however unlikely the other finds it.
    if (logP > Number.NEGATIVE_INFINITY) sum += Math.exp(logP) * (logP - ((other[at] as number) - otherNorm));
    else if (Number.isNaN(logP)) return Number.NaN;
  }
  return sum;
}

function cosineOf(a: ArrayLike<number>, b: ArrayLike<number>, start: number, width: number): number {
  let [product, squareA, squareB] = [0, 0, 0];
  for (let at = start; at < start + width; at++) {
    const [x, y] = [a[at] as number, b[at] as number];
    // A logit of -Infinity excludes a token; it has no direction.
    if (Math.abs(x) === Number.POSITIVE_INFINITY || Math.abs(y) === Number.POSITIVE_INFINITY) continue;
    product += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  if (squareA === 0 && squareB === 0) return 1;
  return squareA === 0 || squareB === 0 ? 0 : product / Math.sqrt(squareA * squareB);
}
