import { checkBroadcast, checkKeyLengths, checkKeyMask } from '../attention/check-keys.js';
import { checkFloats } from '../attention/request.js';
import { TopKError } from '../contract/errors.js';
import type { LinearAttentionInputs, LinearAttentionRequest } from '../contract/linear-attention.js';
import { formatShape, type Shape } from '../contract/shape.js';
import { checkLimits } from '../operation/check-limits.js';
import type { OutputSpec } from '../tensor/apply.js';
import { describeValue } from '../tensor/describe-value.js';
import type { LinearAttentionOptions } from './options.js';

/** The options that are numbers or words. */
type PlainOptions = Pick<
  LinearAttentionOptions,
  'causal' | 'normalise' | 'epsilon' | 'leastDenominator' | 'returnState' | 'chunk' | 'budgetBytes'
>;

/** The checked request of a call, from shapes and options. Without `saves`. */
export function linearAttentionRequest(
  where: string,
  specs: LinearAttentionInputs<OutputSpec>,
  options: PlainOptions,
): LinearAttentionRequest {
  const { queryFeatures, keyFeatures, value, keyMask, keyLengths, keyLogScale } = specs;
  const dtype = checkFloats(where, { queryFeatures, keyFeatures, value });
  const extents = extentsOf(where, specs);
  const { batch, keyHeads, keyLength, features, valueDim } = extents;
  checkLimits(where, 'chunk', options.chunk, options.budgetBytes);
  const divisors = divisorOptions(where, options, keyLogScale !== undefined);
  checkKeyMask(where, keyMask, batch, keyLength);
  checkKeyLengths(where, keyLengths, batch);
  const full = (name: string, spec: OutputSpec | undefined, shape: Shape): void =>
    checkBroadcast(where, name, spec, 'f32', shape, shape.length);
  full('keyLogScale', keyLogScale, [batch, keyHeads, keyLength]);
  const { sumsBefore, totalBefore, logScaleBefore } = specs;
  full('state.sums', sumsBefore, [batch, keyHeads, features, valueDim]);
  full('state.total', totalBefore, [batch, keyHeads, features]);
  full('state.logScale', logScaleBefore, [batch, keyHeads]);
  const continues = sumsBefore !== undefined;
  if (continues && (logScaleBefore === undefined) !== (keyLogScale === undefined)) {
    throw new TopKError('INVALID_OPTION', `${where}: the state is of a call of another kind`, {
      expected: keyLogScale ? 'a state with logScale, as keyLogScale is given' : 'a state without logScale',
      got: logScaleBefore ? 'one with it' : 'one without it',
      fix: 'Give keyLogScale to all calls of a sequence or to none',
    });
  }
  return {
    ...extents,
    dtype,
    causal: options.causal ?? false,
    ...divisors,
    keyLengths: keyLengths !== undefined,
    ...(keyMask && { keyMask: keyMask.shape }),
    keyLogScale: keyLogScale !== undefined,
    continues,
    returnsState: options.returnState ?? false,
    saves: false,
  };
}

function divisorOptions(
  where: string,
  { normalise = true, epsilon, leastDenominator }: PlainOptions,
  hasLogScale: boolean,
): Pick<LinearAttentionRequest, 'normalise' | 'epsilon' | 'leastDenominator'> {
  const bad = (what: string, expected: string, got: string): TopKError =>
    new TopKError('INVALID_OPTION', `${where}: ${what}`, { expected, got });
  if (epsilon !== undefined && !(epsilon >= 0 && epsilon < Number.POSITIVE_INFINITY)) {
    throw bad('bad epsilon', 'a finite number of at least 0', describeValue(epsilon));
  }
  if (
    leastDenominator !== undefined &&
    !(leastDenominator > 0 && leastDenominator < Number.POSITIVE_INFINITY)
  ) {
    throw bad('bad leastDenominator', 'a finite number above 0', describeValue(leastDenominator));
  }
  if (!normalise) {
    for (const [name, given] of Object.entries({ epsilon, leastDenominator, keyLogScale: hasLogScale })) {
      if (given !== undefined && given !== false) throw bad(`${name} without normalise`, `no ${name}`, 'one');
    }
  }
  if (hasLogScale) {
    // Rows are computed relative to the largest log scale that they see, which would scale these as well.
    for (const [name, given] of Object.entries({ epsilon, leastDenominator })) {
      if (given !== undefined && given !== 0) throw bad(`${name} with keyLogScale`, 'one of the two', 'both');
    }
  }
  return {
    normalise,
    epsilon: epsilon ?? 0,
    leastDenominator: leastDenominator ?? Number.NEGATIVE_INFINITY,
  };
}

type Extents = Pick<
  LinearAttentionRequest,
  'batch' | 'queryHeads' | 'keyHeads' | 'queryLength' | 'keyLength' | 'features' | 'valueDim'
>;

function extentsOf(
  where: string,
  specs: Pick<LinearAttentionInputs<OutputSpec>, 'queryFeatures' | 'keyFeatures' | 'value'>,
): Extents {
  const [batch, queryHeads, queryLength, features] = rank4(where, 'queryFeatures', specs.queryFeatures.shape);
  const [batchK, keyHeads, keyLength, featuresK] = rank4(where, 'keyFeatures', specs.keyFeatures.shape);
  const [batchV, headsV, lengthV, valueDim] = rank4(where, 'value', specs.value.shape);
  const got = Object.entries(specs)
    .slice(0, 3)
    .map(([name, { shape }]: [string, OutputSpec]) => `${name} ${formatShape(shape)}`)
    .join(', ');
  if (queryLength === 0 || keyLength === 0) {
    throw new TopKError('EMPTY_SEQUENCE', `${where}: empty sequence`, {
      expected: 'at least one query and one key',
      got: `${queryLength} queries, ${keyLength} keys`,
    });
  }
  if (queryHeads * keyHeads * features * valueDim === 0) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: an extent is 0`, {
      expected: 'heads, features and value dimensions of at least 1; only the batch may be 0',
      got,
    });
  }
  const isFit =
    batchK === batch &&
    batchV === batch &&
    headsV === keyHeads &&
    lengthV === keyLength &&
    featuresK === features;
  if (!isFit || queryHeads % keyHeads !== 0) {
    throw new TopKError('SHAPE_MISMATCH', `${where}: features and value have incompatible shapes`, {
      expected:
        'queryFeatures [B, Hq, Lq, F], keyFeatures [B, Hkv, Lk, F], value [B, Hkv, Lk, Dv], Hq a multiple of Hkv',
      got,
    });
  }
  return { batch, queryHeads, keyHeads, queryLength, keyLength, features, valueDim };
}

function rank4(where: string, name: string, shape: Shape): [number, number, number, number] {
  const [a, b, c, d] = shape;
  if (shape.length === 4 && a !== undefined && b !== undefined && c !== undefined && d !== undefined) {
    return [a, b, c, d];
  }
  throw new TopKError('RANK_MISMATCH', `${where}: ${name} has the wrong rank`, {
    expected: '4: [batch, heads, length, features]',
    got: formatShape(shape),
  });
}
